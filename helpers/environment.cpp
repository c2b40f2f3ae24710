#include <cstring>

#include "helpers/functions.hpp"
#include "vm/machine.hpp"

namespace skep::helpers {

uint64_t ktime_get_ns(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return cpu.machine().clock().monotonic_ns();
}

uint64_t ktime_get_boot_ns(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return cpu.machine().clock().boot_ns();
}

// The time of the last tick.
uint64_t ktime_get_coarse_ns(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  constexpr uint64_t kTick = 4'000'000;
  return cpu.machine().clock().monotonic_ns() / kTick * kTick;
}

uint64_t jiffies64(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return cpu.machine().clock().jiffies64();
}

uint64_t get_prandom_u32(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return static_cast<uint32_t>(cpu.random().next());
}

uint64_t get_smp_processor_id(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return cpu.id();
}

// A machine has one memory node.
uint64_t get_numa_node_id(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu&) { return 0; }

uint64_t get_current_pid_tgid(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  const vm::Task task = cpu.machine().task();
  return static_cast<uint64_t>(task.tgid) << 32 | task.pid;
}

// Cut to fit, always terminated, the rest zeroed (strscpy_pad).
uint64_t get_current_comm(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  auto* buffer = reinterpret_cast<char*>(r1);
  const std::string comm = cpu.machine().task().comm;
  const size_t length = comm.copy(buffer, r2 - 1);
  std::memset(buffer + length, 0, r2 - length);
  return 0;
}

}  // namespace skep::helpers
