#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace skep::maps {

// A value of n bytes takes a multiple of 8 in memory, and in user space's view of a per-CPU map.
constexpr size_t round_up_8(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

namespace detail {

template <class Word>
size_t copy_words(std::byte* to, const std::byte* from, size_t done, size_t bytes) {
  for (; bytes - done >= sizeof(Word); done += sizeof(Word)) {
    // Relaxed: values carry no ordering, as in the kernel; a reader may see a mixture of two updates but
    // never a torn word. Pairs with nothing.
    const Word word = __atomic_load_n(reinterpret_cast<const Word*>(from + done), __ATOMIC_RELAXED);
    __atomic_store_n(reinterpret_cast<Word*>(to + done), word, __ATOMIC_RELAXED);
  }
  return done;
}

}  // namespace detail

// Copies a value that other threads may read or write at the same time, in the largest words that both
// addresses are aligned to. Not a snapshot: two updates may mix, word by word.
inline void copy_value_relaxed(void* to, const void* from, size_t bytes) {
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  const uintptr_t alignment = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  size_t done = 0;
  if (alignment % 8 == 0) done = detail::copy_words<uint64_t>(target, source, done, bytes);
  if (alignment % 4 == 0) done = detail::copy_words<uint32_t>(target, source, done, bytes);
  if (alignment % 2 == 0) done = detail::copy_words<uint16_t>(target, source, done, bytes);
  detail::copy_words<uint8_t>(target, source, done, bytes);
}

}  // namespace skep::maps
