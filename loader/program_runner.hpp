#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "loader/onward.hpp"
#include "skep/machine.hpp"
#include "vm/run.hpp"

namespace skep::loader {

// A program on a CPU that the caller holds: what Program::run() and Runner have in common.
class ProgramRunner {
 public:
  // `name` is for messages, and outlives the runner.
  ProgramRunner(vm::Cpu& cpu, const vm::Program& program, std::string_view name)
      : runner_(cpu, program, vm::default_run_options(cpu.machine())),
        name_(name),
        raw_(program.type().context == vm::ContextKind::kRaw) {}

  RunOutcome run_in_place(std::span<std::byte> memory) {
    if (!raw_) [[unlikely]]
      return refuse_memory();
    const vm::RunResult result = runner_.run(memory);
    return {result.r0, result.faulted};
  }
  Result<RunOutcome> run(const RunInput& input);

  // Carries out what the last run redirected to other CPUs, for a CPU that this thread holds.
  RunOutcome deliver(RunOutcome outcome);
  // What the last run redirected, to be delivered by the caller; nullptr: nothing.
  std::unique_ptr<Onward> take_onward() { return std::move(onward_); }

  // Of the last run.
  std::optional<Fault> fault() const;
  const Forwarding& forwarding() const;
  std::vector<std::byte> output() const { return packet_ ? packet_->output() : memory_; }

 private:
  RunOutcome refuse_memory();
  Result<RunOutcome> run_packet(const RunInput& input);

  vm::Runner runner_;
  std::string_view name_;
  bool raw_;
  bool refused_ = false;           // the last run: see refuse_memory()
  std::vector<std::byte> memory_;  // a raw program's, by run()
  std::optional<vm::PacketContext> packet_;
  std::unique_ptr<Onward> onward_;
};

// A fault as the public API has it.
Fault public_fault(const vm::Fault& fault);

// The longest data that a program is run on.
size_t max_data_size(const vm::Program& program);

}  // namespace skep::loader
