// FNV-1a, 64 bits.
#include "suite.h"

SUITE_PROGRAM(fnv1a) {
  uint64_t hash = 0xcbf29ce484222325;
  for (uint64_t i = 0; i < length; ++i) {
    hash ^= memory[i];
    hash *= 0x100000001b3;
  }
  return hash;
}
