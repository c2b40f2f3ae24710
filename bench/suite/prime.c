// Counts and sums the primes below a limit by trial division.
#include "suite.h"

SUITE_INLINE int is_prime(uint32_t n) {
  if (n % 2 == 0) return n == 2;
  for (uint32_t divisor = 3; divisor * divisor <= n; divisor += 2)
    if (n % divisor == 0) return 0;
  return 1;
}

SUITE_PROGRAM(prime) {
  uint64_t count = 0;
  uint64_t sum = 0;
  const uint32_t limit = (uint32_t)(length / 2);
  for (uint32_t n = 2; n < limit; ++n) {
    if (!is_prime(n)) continue;
    ++count;
    sum += n;
  }
  return count << 32 | sum;
}
