#include "loader/program_runner.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

namespace skep::loader {
namespace {

constexpr size_t kMaxRawSize = 16 * 1024 * 1024;

}  // namespace

Fault public_fault(const vm::Fault& fault) {
  Fault out;
  out.kind = vm::fault_kind_name(fault.kind);
  out.pc = fault.slot;
  if (fault.program) {
    out.program = fault.program->spec().name;
    if (const vm::SourceLine* line = fault.program->line_at(fault.slot)) {
      out.file = line->file;
      out.line = line->line;
    }
  }
  out.write = fault.write;
  out.address = fault.address;
  out.size = fault.size;
  out.message = vm::describe(fault);
  return out;
}

size_t max_data_size(const vm::Program& program) {
  return program.type().context == vm::ContextKind::kRaw ? kMaxRawSize : vm::max_packet_size(program.type());
}

RunOutcome ProgramRunner::refuse_memory() {
  packet_.reset();
  onward_.reset();
  refused_ = true;
  runner_.refuse({.kind = vm::FaultKind::kBadCall, .program = &runner_.program()});
  return {0, true};
}

Result<RunOutcome> ProgramRunner::run(const RunInput& input) {
  const size_t most = max_data_size(runner_.program());
  if (input.data.size() > most)
    return fail(EINVAL, fmt::format("program '{}': {} bytes of data are larger than the maximum of {} bytes",
                                    name_, input.data.size(), most));
  if (!raw_) return run_packet(input);
  memory_.assign(input.data.begin(), input.data.end());
  return run_in_place(memory_);
}

Result<RunOutcome> ProgramRunner::run_packet(const RunInput& input) {
  auto packet = vm::PacketContext::create(
      runner_.cpu(), runner_.program().type(),
      {input.data, input.meta, input.ingress_ifindex, input.rx_queue_index, input.skb});
  if (!packet)
    return fail(packet.error().code, fmt::format("program '{}': {}", name_, packet.error().message));
  packet_.emplace(std::move(*packet));
  refused_ = false;
  onward_.reset();
  const vm::RunResult result = runner_.run(*packet_);
  if (result.faulted || !vm::Forwarder::concerns(runner_.program().type(), result.r0))
    return RunOutcome{static_cast<uint32_t>(result.r0), result.faulted};
  onward_ = std::make_unique<Onward>(runner_.cpu().machine(), input.want_output);
  onward_->carry_on(runner_, *packet_, result.r0);
  return RunOutcome{static_cast<uint32_t>(result.r0), onward_->fault().has_value()};
}

RunOutcome ProgramRunner::deliver(RunOutcome outcome) {
  if (!onward_) return outcome;
  onward_->deliver(&runner_);
  outcome.faulted = onward_->fault().has_value();
  return outcome;
}

const Forwarding& ProgramRunner::forwarding() const {
  static const Forwarding kNothing;
  return onward_ ? onward_->result() : kNothing;
}

std::optional<Fault> ProgramRunner::fault() const {
  if (onward_) return onward_->fault();
  if (!runner_.cpu().stopped()) return std::nullopt;
  Fault fault = public_fault(runner_.cpu().fault());
  if (refused_) fault.message = fmt::format("program '{}': only raw programs run over plain memory", name_);
  return fault;
}

}  // namespace skep::loader
