#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vm/clock.hpp"
#include "vm/machine.hpp"
#include "vm/packet.hpp"
#include "vm/program.hpp"

namespace skep::vm {

struct RunResult {
  uint64_t r0 = 0;  // meaningless after a fault
  bool faulted = false;
};

struct RunOptions {
  EngineKind engine = EngineKind::kJit;
  Mode mode = Mode::kChecked;
  uint64_t fuel = kDefaultFuel;
};

RunOptions default_run_options(const Machine& machine);

// Runs one program on one CPU any number of times. Whoever has it holds the CPU. It is inside the CPU's epoch
// from its beginning to its end, and gives up what earlier runs reached at the start of each run: while no
// run is made, reclamation waits for it.
//
// The fault of a run, if any, is in cpu.fault() until the CPU's next run.
class Runner {
 public:
  Runner(Cpu& cpu, const Program& program, const RunOptions& options);

  Cpu& cpu() const { return cpu_; }
  const Program& program() const { return program_; }

  // r1 points at the memory itself and r2 is its length; empty memory: r1 = 0, r2 = 0. Raw programs only.
  RunResult run(std::span<std::byte> memory) {
    if (!quick_entry_ || !guard_.is_current() || cpu_.has_timers()) [[unlikely]]
      return run_slowly(memory);
    cpu_.begin_verified_run(program_, fuel_);
    const uint64_t r0 = quick_entry_(set_memory(memory), memory.size(), cpu_);
    if (cpu_.holds_lock()) [[unlikely]]
      cpu_.end_lock();
    return {r0, cpu_.stopped()};
  }
  // In place of a run that cannot be made: leaves its fault in the CPU.
  void refuse(const Fault& fault) {
    begin();
    cpu_.raise(fault);
  }
  // Programs that run on packets, of the packet's type, only.
  RunResult run(PacketContext& packet);
  // Runs another program on the CPU after a run. What that run reached is not given up.
  RunResult run_other(const Program& program, PacketContext& packet);

 private:
  void begin() {
    guard_.renew();
    if (cpu_.has_timers()) [[unlikely]]
      run_timers();
    cpu_.begin_run(program_, fuel_);
    if (clock_) clock_->run_started();
  }
  uint64_t set_memory(std::span<std::byte> memory) {
    const uint64_t address = memory.empty() ? 0 : reinterpret_cast<uintptr_t>(memory.data());
    cpu_.run().packet = {address, memory.size()};
    return address;
  }
  // Apart from run(), which then has to keep nothing over calls but the CPU.
  RunResult run_slowly(std::span<std::byte> memory);
  RunResult call(uint64_t r1, uint64_t r2) {
    const uint64_t r0 = entry_ ? entry_(r1, r2, cpu_) : call_slowly(r1, r2);
    return ended(r0);
  }
  RunResult ended(uint64_t r0) {
    if (cpu_.holds_records()) [[unlikely]]
      cpu_.drop_records();
    if (cpu_.holds_lock()) [[unlikely]]
      cpu_.end_lock();
    return {r0, cpu_.stopped()};
  }
  void run_timers();
  uint64_t call_slowly(uint64_t r1, uint64_t r2);

  Cpu& cpu_;
  const Program& program_;
  EntryFunction entry_;
  EntryFunction quick_entry_ = nullptr;  // of a verified program; where runs need nothing else
  const Executable& executable_;
  Clock* clock_;  // nullptr: not simulated
  int64_t fuel_;
  maps::EpochDomain::CpuGuard guard_;
};

// One run. The caller holds the CPU's lock.
RunResult run_packet(Cpu& cpu, const Program& program, PacketContext& packet, const RunOptions& options);
RunResult run_raw(Cpu& cpu, const Program& program, std::span<std::byte> memory, const RunOptions& options);

}  // namespace skep::vm
