// What every program of the suite is written with. A file holds one program:
//
//   SUITE_PROGRAM(name) { … return checksum; }
//
// in which `memory` has `length` bytes and ends at `end`. Compiled natively it is the function
// `uint64_t name(void* memory, uint64_t length)`; compiled for BPF it is that function in SEC("raw"), and
// beside it `name_xdp`, which runs the same source over the packet, so that the kernel can run it too.
//
// A program may write the second half of its memory and has to write there before it reads: a run leaves
// nothing to the next one.
#pragma once

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;

// The memory of every program. The kernel's verifier has to know it; programs take it from `length`.
#define SUITE_LENGTH 2048

#define SUITE_INLINE static inline __attribute__((always_inline))

// Hides from the compiler what a value is, and from no verifier. Keeps loops over packet memory counted by an
// index: a loop that ends where two pointers meet is one without end to the kernel's verifier.
#define SUITE_OPAQUE(value) __asm__ volatile("" : "+r"(value))

SUITE_INLINE uint64_t rotate_left(uint64_t value, unsigned bits) {
  return (value << bits) | (value >> (64 - bits));
}

SUITE_INLINE uint32_t rotate_left32(uint32_t value, unsigned bits) {
  return (value << bits) | (value >> (32 - bits));
}

#ifdef __bpf__

#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))

// The verdict is 32 bits wide: the checksum's halves are folded into it.
#define SUITE_PROGRAM(name)                                                                              \
  SUITE_INLINE uint64_t name##_body(uint8_t* memory, uint64_t length, const uint8_t* end);               \
  SEC("raw") uint64_t name(void* memory, uint64_t length) {                                              \
    return name##_body(memory, length, (const uint8_t*)memory + length);                                 \
  }                                                                                                      \
  SEC("xdp") int name##_xdp(struct xdp_md* context) {                                                    \
    uint8_t* data = (uint8_t*)(uint64_t)context->data;                                                   \
    const uint8_t* end = (const uint8_t*)(uint64_t)context->data_end;                                    \
    if (data + SUITE_LENGTH > end) return 0;                                                             \
    uint64_t length = SUITE_LENGTH;                                                                      \
    SUITE_OPAQUE(length);                                                                                \
    const uint64_t checksum = name##_body(data, length, end);                                            \
    return (int)(uint32_t)(checksum ^ (checksum >> 32));                                                 \
  }                                                                                                      \
  char LICENSE[] SEC("license") = "GPL";                                                                 \
  uint64_t name##_body(__attribute__((unused)) uint8_t* memory, __attribute__((unused)) uint64_t length, \
                       __attribute__((unused)) const uint8_t* end)

#else

#define SUITE_PROGRAM(name)                                                                              \
  SUITE_INLINE uint64_t name##_body(uint8_t* memory, uint64_t length, const uint8_t* end);               \
  uint64_t name(void* memory, uint64_t length) {                                                         \
    return name##_body(memory, length, (const uint8_t*)memory + length);                                 \
  }                                                                                                      \
  uint64_t name##_body(__attribute__((unused)) uint8_t* memory, __attribute__((unused)) uint64_t length, \
                       __attribute__((unused)) const uint8_t* end)

#endif
