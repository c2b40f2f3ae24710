// A chain of functions that are not inlined, each with work before and after its call.
#include "suite.h"

#define SUITE_FUNCTION static __attribute__((noinline)) uint64_t

enum { kRounds = 256 };

SUITE_FUNCTION fifth(uint64_t a, uint64_t b) { return (a ^ b) * 0x9e3779b97f4a7c15; }

SUITE_FUNCTION fourth(uint64_t a, uint64_t b) { return fifth(a + 1, b ^ 4) + rotate_left(a, 7); }

SUITE_FUNCTION third(uint64_t a, uint64_t b) { return fourth(b, a + 3) ^ (b >> 5); }

SUITE_FUNCTION second(uint64_t a, uint64_t b) {
  const uint64_t left = third(a, b);
  return left + fifth(left, a) + b;
}

SUITE_FUNCTION first(uint64_t a, uint64_t b) { return second(a * 3, b) ^ a; }

SUITE_PROGRAM(calls) {
  uint64_t checksum = length;
  for (uint64_t round = 0; round < kRounds; ++round) checksum = first(checksum, memory[round]);
  return checksum;
}
