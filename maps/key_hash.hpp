#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace skep::maps {

namespace detail {

// Multiplies to 128 bits and folds: every bit of the result depends on every bit of both factors.
inline uint64_t fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Programs write keys to the stack in 32-bit stores; wider loads would wait until those have left the store
// buffer.
inline uint64_t load_32(const std::byte* at) {
  uint32_t word = 0;
  std::memcpy(&word, at, sizeof word);
  // Compilers join neighbouring loads if nothing is between them.
  asm("" : "+r"(word));
  return word;
}

}  // namespace detail

// What a table's seed (32 bits, as the kernel's) becomes; done once, so that hashing need not stretch it.
inline uint64_t expand_seed(uint32_t seed) {
  return detail::fold(seed ^ UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xd1342543de82ef95));
}

// The hash of a key of `size` bytes.
inline uint32_t hash_key(const void* key, size_t size, uint64_t seed) {
  constexpr uint64_t kFirst = UINT64_C(0xa0761d6478bd642f);
  constexpr uint64_t kSecond = UINT64_C(0xe7037ed1a0b428db);
  const auto* at = static_cast<const std::byte*>(key);
  uint64_t state = seed ^ size;
  size_t left = size;
  for (; left >= 8; left -= 8, at += 8) {
    state = detail::fold(state ^ kFirst, (detail::load_32(at) | detail::load_32(at + 4) << 32) ^ kSecond);
  }
  if (left != 0) {
    uint64_t word = 0;
    if (left >= 4) {
      word = detail::load_32(at);
      at += 4;
      left -= 4;
    }
    for (; left != 0; --left) word = word << 8 | static_cast<uint64_t>(*at++);
    state = detail::fold(state ^ kFirst, word ^ kSecond);
  }
  state = detail::fold(state ^ kSecond, kFirst);
  return static_cast<uint32_t>(state ^ state >> 32);
}

// Whether two keys of one size are equal; in 32-bit loads for the same reason.
inline bool same_key(const void* left, const void* right, size_t size) {
  if (size % 4 != 0) return std::memcmp(left, right, size) == 0;
  const auto* a = static_cast<const std::byte*>(left);
  const auto* b = static_cast<const std::byte*>(right);
  for (size_t done = 0; done < size; done += 4) {
    if (detail::load_32(a + done) != detail::load_32(b + done)) return false;
  }
  return true;
}

// Copies a key; in 32-bit moves, as it is going to be read.
inline void copy_key(void* to, const void* from, size_t size) {
  if (size % 4 != 0) {
    std::memcpy(to, from, size);
    return;
  }
  for (size_t done = 0; done < size; done += 4)
    std::memcpy(static_cast<std::byte*>(to) + done, static_cast<const std::byte*>(from) + done, 4);
}

}  // namespace skep::maps
