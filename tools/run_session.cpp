#include "tools/run_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tools/flow_hash.hpp"

namespace skep::tools {
namespace {

constexpr size_t kLinkHeader = 14;

bool is_packet_type(const Program& program) { return program.type() != "raw"; }

}  // namespace

RunSession::RunSession(const Machine& machine, const Program& program, const SessionOptions& options)
    : machine_(machine), program_(program), options_(options) {
  totals_.packets_per_cpu.resize(machine.cpus());
  options_.threads = std::clamp(options.threads, 1U, machine.cpus());
}

unsigned RunSession::choose_cpu(const Packet& packet) {
  if (options_.cpu) return *options_.cpu;
  if (options_.spread == Spread::kFlow) return flow_hash(packet.bytes) % machine_.cpus();
  return next_cpu_++ % machine_.cpus();
}

Result<std::vector<Outcome>> RunSession::run(const std::vector<Packet>& batch) {
  cpus_of_batch_.clear();
  for (const Packet& packet : batch) cpus_of_batch_.push_back(choose_cpu(packet));
  std::vector<Outcome> outcomes(batch.size());
  std::vector<std::optional<Error>> errors(options_.threads);
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 1; t < options_.threads; ++t)
      threads.emplace_back([&, t] { run_on_thread(t, batch, outcomes, errors[t]); });
    run_on_thread(0, batch, outcomes, errors[0]);
  }
  const auto elapsed = std::chrono::steady_clock::now() - start;
  totals_.nanoseconds += static_cast<uint64_t>(std::chrono::nanoseconds(elapsed).count());
  for (const auto& error : errors)
    if (error) return std::unexpected(*error);
  for (size_t i = 0; i < outcomes.size(); ++i) account(outcomes[i], cpus_of_batch_[i]);
  return outcomes;
}

void RunSession::run_on_thread(unsigned thread, const std::vector<Packet>& batch,
                               std::vector<Outcome>& outcomes, std::optional<Error>& error) const {
  for (size_t i = 0; i < batch.size(); ++i) {
    if (cpus_of_batch_[i] % options_.threads != thread) continue;
    error = run_packet(batch[i], cpus_of_batch_[i], outcomes[i]);
    if (error || (outcomes[i].result.fault && !options_.keep_going)) return;
  }
}

std::optional<Error> RunSession::run_packet(const Packet& packet, unsigned cpu, Outcome& outcome) const {
  if (is_packet_type(program_) && packet.bytes.size() < kLinkHeader) return std::nullopt;
  RunInput input;
  input.data = std::as_bytes(std::span(packet.bytes));
  __sk_buff skb{};
  if (options_.ingress) {
    input.ingress_ifindex = skb.ifindex = skb.ingress_ifindex = *options_.ingress;
    input.skb = &skb;
  }
  for (uint64_t n = 0; n < options_.repeat; ++n) {
    input.want_output = options_.want_output && n + 1 == options_.repeat;
    auto result = program_.run(cpu, input);
    if (!result) return result.error();
    outcome.ran = true;
    outcome.result = std::move(*result);
    outcome.forwarded.add(outcome.result.forwarding);
    if (outcome.result.fault) break;
  }
  return std::nullopt;
}

void RunSession::account(const Outcome& outcome, unsigned cpu) {
  ++totals_.packets;
  if (!outcome.ran) {
    if (!stopped()) ++totals_.too_short;
    return;
  }
  ++totals_.packets_per_cpu[cpu];
  totals_.forwarded.add(outcome.forwarded);
  if (outcome.result.fault) {
    ++totals_.runs;
    ++totals_.fault_count;
    if (totals_.faults.size() < kMaxFaults)
      totals_.faults.push_back({*outcome.result.fault, totals_.packets, cpu});
    return;
  }
  totals_.runs += options_.repeat;
  totals_.last_return_value = outcome.result.return_value;
  totals_.verdicts[verdict_of(outcome.result.return_value)] += options_.repeat;
}

std::string RunSession::verdict_of(uint64_t return_value) const {
  const std::string_view name = program_.verdict_name(return_value);
  if (!name.empty()) return std::string(name);
  return is_packet_type(program_) ? fmt::format("{}", return_value) : fmt::format("{:#x}", return_value);
}

}  // namespace skep::tools
