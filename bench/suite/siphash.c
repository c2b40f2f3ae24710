// SipHash-2-4 of all of the memory, with three keys taken from it.
#include "suite.h"

struct state {
  uint64_t v0, v1, v2, v3;
};

SUITE_INLINE void sip_round(struct state* s) {
  s->v0 += s->v1;
  s->v1 = rotate_left(s->v1, 13) ^ s->v0;
  s->v0 = rotate_left(s->v0, 32);
  s->v2 += s->v3;
  s->v3 = rotate_left(s->v3, 16) ^ s->v2;
  s->v0 += s->v3;
  s->v3 = rotate_left(s->v3, 21) ^ s->v0;
  s->v2 += s->v1;
  s->v1 = rotate_left(s->v1, 17) ^ s->v2;
  s->v2 = rotate_left(s->v2, 32);
}

SUITE_INLINE void absorb(struct state* s, uint64_t word) {
  s->v3 ^= word;
  sip_round(s);
  sip_round(s);
  s->v0 ^= word;
}

SUITE_INLINE uint64_t siphash_of(const uint64_t* words, uint64_t length, const uint64_t* key) {
  struct state s = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
                    key[1] ^ 0x7465646279746573};
  for (uint64_t i = 0; i < length / 8; ++i) absorb(&s, words[i]);
  absorb(&s, length << 56);
  s.v2 ^= 0xff;
  for (int round = 0; round < 4; ++round) sip_round(&s);
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

SUITE_PROGRAM(siphash) {
  const uint64_t* words = (const uint64_t*)memory;
  uint64_t checksum = 0;
  for (uint64_t key = 0; key < 3; ++key)
    checksum = checksum * 31 + siphash_of(words, length, words + key * 2);
  return checksum;
}
