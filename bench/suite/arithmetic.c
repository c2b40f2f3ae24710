// Multiplications, divisions and remainders of 64-bit numbers, by constants and by what was computed before.
#include "suite.h"

SUITE_PROGRAM(arithmetic) {
  const uint64_t* numbers = (const uint64_t*)memory;
  uint64_t checksum = 0x9e3779b97f4a7c15;
  for (uint64_t i = 0; i < length / 8; ++i) {
    const uint64_t number = numbers[i];
    const uint64_t divisor = (number >> 40) | 1;
    checksum = checksum * 6364136223846793005 + number;
    checksum ^= checksum / divisor;
    checksum += checksum % 1000003;
    checksum ^= number / 10;
  }
  return checksum;
}
