// Bubble sort of two arrays of 64 integers, which are copied to the memory's second half.
#include "suite.h"

enum { kCount = 64, kArrays = 2 };

SUITE_INLINE void sort(uint64_t* numbers) {
  for (uint64_t last = kCount - 1; last > 0; --last) {
    for (uint64_t i = 0; i < last; ++i) {
      const uint64_t a = numbers[i];
      const uint64_t b = numbers[i + 1];
      if (a <= b) continue;
      numbers[i] = b;
      numbers[i + 1] = a;
    }
  }
}

SUITE_PROGRAM(bubble_sort) {
  const uint64_t* unsorted = (const uint64_t*)memory;
  uint64_t* numbers = (uint64_t*)(memory + SUITE_LENGTH / 2);
  for (uint64_t i = 0; i < kArrays * kCount; ++i) numbers[i] = unsorted[i];
  for (uint64_t array = 0; array < kArrays; ++array) sort(numbers + array * kCount);
  uint64_t checksum = 0;
  for (uint64_t i = 0; i < kArrays * kCount; ++i) checksum = checksum * 31 + numbers[i];
  return checksum;
}
