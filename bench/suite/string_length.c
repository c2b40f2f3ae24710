// strlen of every string in the memory, in three rounds.
#include "suite.h"

SUITE_INLINE uint64_t string_length_of(const uint8_t* memory, uint64_t begin, uint64_t end) {
  uint64_t i = begin;
  while (i < end && memory[i] != 0) ++i;
  return i - begin;
}

SUITE_PROGRAM(string_length) {
  uint64_t checksum = 0;
  for (int round = 0; round < 3; ++round) {
    for (uint64_t i = 0; i < length;) {
      const uint64_t size = string_length_of(memory, i, length);
      checksum = checksum * 31 + size;
      i += size + 1;
    }
  }
  return checksum;
}
