#include "vm/run.hpp"

#include <algorithm>
#include <limits>

#include "vm/timers.hpp"

namespace skep::vm {

RunOptions default_run_options(const Machine& machine) {
  const MachineOptions& options = machine.options();
  return {options.engine, options.mode, options.fuel};
}

Runner::Runner(Cpu& cpu, const Program& program, const RunOptions& options)
    : cpu_(cpu),
      program_(program),
      entry_(nullptr),
      executable_(program.executable(options.engine, options.mode)),
      clock_(cpu.machine().clock().simulated() ? &cpu.machine().clock() : nullptr),
      fuel_(static_cast<int64_t>(std::min<uint64_t>(options.fuel, std::numeric_limits<int64_t>::max()))),
      guard_(cpu.machine().epochs(), cpu.id()) {
  entry_ = executable_.entry();
  if (options.mode == Mode::kVerified && !clock_) quick_entry_ = entry_;
  cpu.prepare_runs(options.engine, options.mode);
}

void Runner::run_timers() { cpu_.machine().timers().run_due(cpu_); }

RunResult Runner::run(PacketContext& packet) {
  begin();
  cpu_.redirect = {};
  packet.attach(cpu_);
  const RunResult result = call(reinterpret_cast<uintptr_t>(packet.context()), 0);
  cpu_.packet_context = nullptr;
  return result;
}

RunResult Runner::run_other(const Program& program, PacketContext& packet) {
  cpu_.begin_run(program, fuel_);
  if (clock_) clock_->run_started();
  cpu_.redirect = {};
  packet.attach(cpu_);
  const Executable& executable = program.executable(cpu_.run().engine, cpu_.run().mode);
  const uint64_t context = reinterpret_cast<uintptr_t>(packet.context());
  const uint64_t r0 = executable.call(cpu_, program.subprograms().front(), {context, 0, 0, 0, 0});
  cpu_.packet_context = nullptr;
  return {r0, cpu_.stopped()};
}

RunResult Runner::run_slowly(std::span<std::byte> memory) {
  begin();
  return call(set_memory(memory), memory.size());
}

uint64_t Runner::call_slowly(uint64_t r1, uint64_t r2) {
  return executable_.call(cpu_, program_.subprograms().front(), {r1, r2, 0, 0, 0});
}

RunResult run_packet(Cpu& cpu, const Program& program, PacketContext& packet, const RunOptions& options) {
  return Runner(cpu, program, options).run(packet);
}

RunResult run_raw(Cpu& cpu, const Program& program, std::span<std::byte> memory, const RunOptions& options) {
  return Runner(cpu, program, options).run(memory);
}

}  // namespace skep::vm
