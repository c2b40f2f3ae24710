#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

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

// Runs a program once. The caller holds the CPU's lock; the run is a read-side critical section of the
// machine's epoch domain. The fault, if any, is in cpu.fault() until the CPU's next run. ENOTSUPP-like
// mismatches (a packet for a raw program) are the caller's to avoid.
RunResult run_packet(Cpu& cpu, const Program& program, PacketContext& packet, const RunOptions& options);
// r1 points at the memory itself and r2 is its length; empty memory: r1 = 0, r2 = 0.
RunResult run_raw(Cpu& cpu, const Program& program, std::span<std::byte> memory, const RunOptions& options);

}  // namespace skep::vm
