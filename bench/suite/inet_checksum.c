// The Internet checksum (RFC 1071) of blocks that begin further and further into the memory.
#include "suite.h"

enum { kBlocks = 16, kStride = 64 };

SUITE_INLINE uint16_t inet_checksum_of(const uint8_t* memory, uint64_t begin, uint64_t end) {
  uint64_t sum = 0;
  for (uint64_t i = begin; i + 2 <= end; i += 2) sum += *(const uint16_t*)(memory + i);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

SUITE_PROGRAM(inet_checksum) {
  uint64_t checksum = 0;
  for (uint64_t block = 0; block < kBlocks; ++block)
    checksum = checksum * 31 + inet_checksum_of(memory, block * kStride, length);
  return checksum;
}
