#include <atomic>

#include "helpers/functions.hpp"
#include "vm/machine.hpp"
#include "vm/timers.hpp"

namespace skep::helpers {
namespace {

std::byte* field(uint64_t r1) { return reinterpret_cast<std::byte*>(r1); }
uint64_t result(long value) { return static_cast<uint64_t>(value); }

}  // namespace

uint64_t spin_lock(uint64_t r1, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  cpu.lock_value(field(r1));
  return 0;
}

uint64_t spin_unlock(uint64_t r1, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  cpu.unlock_value(field(r1));
  return 0;
}

uint64_t timer_init(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu& cpu) {
  return result(cpu.machine().timers().init(field(r1), *reinterpret_cast<maps::Map*>(r2), r3));
}

uint64_t timer_set_callback(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return result(cpu.machine().timers().set_callback(field(r1), *reinterpret_cast<const vm::Subprogram*>(r2)));
}

uint64_t timer_start(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu& cpu) {
  return result(cpu.machine().timers().start(field(r1), r2, r3, cpu));
}

uint64_t timer_cancel(uint64_t r1, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return result(cpu.machine().timers().cancel(field(r1), cpu));
}

uint64_t kptr_xchg(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu&) {
  // Acquire and release: what the pointer leads to goes from the one who stores it to the one who gets it.
  return std::atomic_ref(*reinterpret_cast<uint64_t*>(r1)).exchange(r2, std::memory_order_acq_rel);
}

}  // namespace skep::helpers
