#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace skep::maps {

// A value of n bytes takes a multiple of 8 in memory, and in user space's view of a per-CPU map.
constexpr size_t round_up_8(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

namespace detail {

template <class Word, int load_order, int store_order>
size_t copy_words(std::byte* to, const std::byte* from, size_t done, size_t bytes) {
  for (; bytes - done >= sizeof(Word); done += sizeof(Word)) {
    const Word word = __atomic_load_n(reinterpret_cast<const Word*>(from + done), load_order);
    __atomic_store_n(reinterpret_cast<Word*>(to + done), word, store_order);
  }
  return done;
}

template <int load_order, int store_order>
void copy_value(void* to, const void* from, size_t bytes) {
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  const uintptr_t alignment = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  size_t done = 0;
  if (alignment % 8 == 0) done = copy_words<uint64_t, load_order, store_order>(target, source, done, bytes);
  if (alignment % 4 == 0) done = copy_words<uint32_t, load_order, store_order>(target, source, done, bytes);
  if (alignment % 2 == 0) done = copy_words<uint16_t, load_order, store_order>(target, source, done, bytes);
  copy_words<uint8_t, load_order, store_order>(target, source, done, bytes);
}

}  // namespace detail

// Copies a value that other threads may read or write at the same time, in the largest words that both
// addresses are aligned to. Not a snapshot: two updates may mix, word by word.
// Relaxed: values carry no ordering, as in the kernel; a reader may see a mixture of two updates but never a
// torn word. Pairs with nothing.
inline void copy_value_relaxed(void* to, const void* from, size_t bytes) {
  detail::copy_value<__ATOMIC_RELAXED, __ATOMIC_RELAXED>(to, from, bytes);
}

// The two halves of a copy that its reader validates afterwards: a reader that sees a word which
// write_validated() wrote has acquired what the writer had seen before, and so finds in its validation that
// the value it was reading has been given up.
inline void write_validated(void* to, const void* from, size_t bytes) {
  detail::copy_value<__ATOMIC_RELAXED, __ATOMIC_RELEASE>(to, from, bytes);
}
inline void read_validated(void* to, const void* from, size_t bytes) {
  detail::copy_value<__ATOMIC_ACQUIRE, __ATOMIC_RELAXED>(to, from, bytes);
}

}  // namespace skep::maps
