#pragma once

#include <cstdint>
#include <cstring>

#include "isa/arithmetic.hpp"

// Loads, stores and atomics on a program's memory.
namespace skep::vm {

// Programs on several CPUs race on map values as they do in the kernel: the races are theirs. ThreadSanitizer
// is told so by relaxed atomics, which are the same instructions wherever the address is aligned.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kRacesAreSeen = true;
#elif defined(__has_feature)
inline constexpr bool kRacesAreSeen = __has_feature(thread_sanitizer);
#else
inline constexpr bool kRacesAreSeen = false;
#endif

template <class T>
T load(uint64_t address) {
  if constexpr (kRacesAreSeen)
    if (address % sizeof(T) == 0)
      return __atomic_load_n(reinterpret_cast<const T*>(address), __ATOMIC_RELAXED);
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}

template <class T>
void store(uint64_t address, T value) {
  if constexpr (kRacesAreSeen)
    if (address % sizeof(T) == 0)
      return __atomic_store_n(reinterpret_cast<T*>(address), value, __ATOMIC_RELAXED);
  std::memcpy(reinterpret_cast<void*>(address), &value, sizeof value);
}

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
