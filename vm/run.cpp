#include "vm/run.hpp"

namespace skep::vm {

RunOptions default_run_options(const Machine& machine) {
  const MachineOptions& options = machine.options();
  return {options.engine, options.mode, options.fuel};
}

// One run: the CPU made ready, the epoch entered, the program called.
class ProgramRun {
 public:
  ProgramRun(Cpu& cpu, const Program& program, const RunOptions& options)
      : cpu_(cpu), program_(program), options_(options), guard_(cpu.machine().epochs(), cpu.id()) {
    cpu.begin_run(program, options.engine, options.mode, options.fuel);
    cpu.machine().clock().run_started();
  }

  RunResult call(uint64_t r1, uint64_t r2) {
    const Executable& executable = program_.executable(options_.engine, options_.mode);
    const uint64_t r0 = executable.call(cpu_, program_.subprograms().front(), {r1, r2, 0, 0, 0});
    return {r0, cpu_.stopped()};
  }

 private:
  Cpu& cpu_;
  const Program& program_;
  const RunOptions& options_;
  maps::EpochDomain::CpuGuard guard_;
};

RunResult run_packet(Cpu& cpu, const Program& program, PacketContext& packet, const RunOptions& options) {
  ProgramRun run(cpu, program, options);
  packet.attach(cpu);
  const RunResult result = run.call(reinterpret_cast<uintptr_t>(packet.context()), 0);
  cpu.packet_context = nullptr;
  return result;
}

RunResult run_raw(Cpu& cpu, const Program& program, std::span<std::byte> memory, const RunOptions& options) {
  ProgramRun run(cpu, program, options);
  const auto address = memory.empty() ? 0 : reinterpret_cast<uintptr_t>(memory.data());
  cpu.run().packet = {address, memory.size()};
  return run.call(address, memory.size());
}

}  // namespace skep::vm
