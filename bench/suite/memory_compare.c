// memcmp of the memory's two halves, which are made equal but for one byte, at ever other places.
#include "suite.h"

enum { kRounds = 16 };

SUITE_INLINE int compare(const uint8_t* a, const uint8_t* b, uint64_t length) {
  for (uint64_t i = 0; i < length; ++i)
    if (a[i] != b[i]) return a[i] - b[i];
  return 0;
}

SUITE_PROGRAM(memory_compare) {
  const uint64_t half = length / 2;
  uint8_t* copy = memory + SUITE_LENGTH / 2;
  for (uint64_t i = 0; i < half; ++i) {
    copy[i] = memory[i];
  }
  uint64_t checksum = 0;
  for (uint64_t round = 1; round <= kRounds; ++round) {
    const uint64_t at = round * (SUITE_LENGTH / 2 / kRounds) - 1;
    copy[at] ^= 0x55;
    checksum = checksum * 31 + (uint64_t)compare(memory, copy, half);
    copy[at] ^= 0x55;
  }
  return checksum;
}
