#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "isa/arithmetic.hpp"

// Loads, stores and atomics on a program's memory. Programs on several CPUs race on map values as they do in
// the kernel: the races are theirs, so these functions are kept from ThreadSanitizer.
namespace skep::vm {

#define SKEP_PROGRAM_RACES __attribute__((no_sanitize("thread"), always_inline))

template <class T>
SKEP_PROGRAM_RACES inline T load(uint64_t address) {
  struct __attribute__((packed, may_alias)) Unaligned {
    T value;
  };
  return reinterpret_cast<const Unaligned*>(address)->value;
}

template <class T>
SKEP_PROGRAM_RACES inline void store(uint64_t address, T value) {
  struct __attribute__((packed, may_alias)) Unaligned {
    T value;
  };
  reinterpret_cast<Unaligned*>(address)->value = value;
}
#undef SKEP_PROGRAM_RACES

// The kernel gives operations that fetch full ordering and the others none (Documentation/atomic_t.txt);
// x86's lock prefix orders all of them fully. Returns the old value.
template <isa::AtomicOp op, isa::Word T>
T atomic_update(uint64_t address, T operand, T expected) {
  using enum isa::AtomicOp;
  auto* at = reinterpret_cast<T*>(address);
  if constexpr (op == kAdd || op == kFetchAdd) return __atomic_fetch_add(at, operand, __ATOMIC_SEQ_CST);
  if constexpr (op == kOr || op == kFetchOr) return __atomic_fetch_or(at, operand, __ATOMIC_SEQ_CST);
  if constexpr (op == kAnd || op == kFetchAnd) return __atomic_fetch_and(at, operand, __ATOMIC_SEQ_CST);
  if constexpr (op == kXor || op == kFetchXor) return __atomic_fetch_xor(at, operand, __ATOMIC_SEQ_CST);
  if constexpr (op == kXchg) return __atomic_exchange_n(at, operand, __ATOMIC_SEQ_CST);
  if constexpr (op == kCmpxchg) {
    __atomic_compare_exchange_n(at, &expected, operand, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
  }
}

}  // namespace skep::vm
