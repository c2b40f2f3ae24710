// samples/raw_checksum.bpf.c as native code, right and wrong.
#include <stdint.h>

uint64_t right(void* memory, uint64_t length);
uint64_t wrong_value(void* memory, uint64_t length);
uint64_t wrong_memory(void* memory, uint64_t length);

uint64_t right(void* memory, uint64_t length) {
  const uint8_t* bytes = memory;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < length; ++i) sum += i % 2 == 0 ? (uint64_t)bytes[i] << 8 : bytes[i];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

uint64_t wrong_value(void* memory, uint64_t length) { return right(memory, length) + 1; }

uint64_t wrong_memory(void* memory, uint64_t length) {
  const uint64_t sum = right(memory, length);
  ((uint8_t*)memory)[2] = 0xee;
  return sum;
}
