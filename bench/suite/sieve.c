// The sieve of Eratosthenes over the second half of the memory, a byte a number; twice.
#include "suite.h"

SUITE_INLINE uint64_t primes_below(uint64_t limit, uint8_t* composite) {
  for (uint64_t n = 0; n < limit; ++n) composite[n] = 0;
  uint64_t checksum = 0;
  for (uint64_t n = 2; n < limit; ++n) {
    if (composite[n]) continue;
    checksum = checksum * 31 + n;
    for (uint64_t multiple = n * n; multiple < limit; multiple += n) composite[multiple] = 1;
  }
  return checksum;
}

SUITE_PROGRAM(sieve) {
  uint8_t* composite = memory + SUITE_LENGTH / 2;
  const uint64_t limit = length / 2;
  return primes_below(limit, composite) * 31 + primes_below(limit - 100, composite);
}
