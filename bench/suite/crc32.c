// CRC-32 (IEEE 802.3) without a table, bit by bit.
#include "suite.h"

SUITE_PROGRAM(crc32) {
  uint32_t crc = 0xffffffff;
  for (uint64_t i = 0; i < length / 4; ++i) {
    crc ^= memory[i];
    for (unsigned bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320 * (crc & 1));
  }
  return crc ^ 0xffffffff;
}
