// Iterative Fibonacci numbers modulo 2^64, from many starts.
#include "suite.h"

enum { kStarts = 64, kSteps = 90 };

SUITE_PROGRAM(fibonacci) {
  uint64_t checksum = 0;
  for (uint64_t start = 0; start < kStarts; ++start) {
    uint64_t a = memory[start];
    uint64_t b = 1;
    for (uint64_t step = 0; step < kSteps; ++step) {
      const uint64_t next = a + b;
      a = b;
      b = next;
      SUITE_OPAQUE(b);  // or two steps become one
    }
    checksum = checksum * 31 + b;
  }
  return checksum;
}
