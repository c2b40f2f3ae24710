// MurmurHash3, the 32-bit variant, with two seeds.
#include "suite.h"

SUITE_INLINE uint32_t murmur3_32(const uint8_t* memory, uint64_t length, uint32_t seed) {
  uint32_t hash = seed;
  for (uint64_t i = 0; i + 4 <= length; i += 4) {
    uint32_t block = *(const uint32_t*)(memory + i);
    block *= 0xcc9e2d51;
    block = rotate_left32(block, 15);
    block *= 0x1b873593;
    hash ^= block;
    hash = rotate_left32(hash, 13);
    hash = hash * 5 + 0xe6546b64;
  }
  hash ^= (uint32_t)length;
  hash ^= hash >> 16;
  hash *= 0x85ebca6b;
  hash ^= hash >> 13;
  hash *= 0xc2b2ae35;
  hash ^= hash >> 16;
  return hash;
}

SUITE_PROGRAM(murmur3) {
  const uint64_t high = murmur3_32(memory, length, 0);
  return high << 32 | murmur3_32(memory, length, (uint32_t)high);
}
