// What maps.bpf.c and lru.bpf.c have in common: programs that do one thing to a map, kOperations times, with
// keys in random order. Built once for each number of entries.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef ENTRIES
#define ENTRIES 65536
#endif

// As in map_rows.hpp.
enum { kOperations = 256, kPrefixes = 50000 };
enum { kCpus = 1024 };

char LICENSE[] SEC("license") = "GPL";

#define KEYED(name, map_type, key_type, flags) \
  struct {                                     \
    __uint(type, map_type);                    \
    __uint(max_entries, ENTRIES);              \
    __uint(map_flags, flags);                  \
    __type(key, key_type);                     \
    __type(value, unsigned long);              \
  } name SEC(".maps")

// Each CPU goes on where its last run ended.
struct generator {
  unsigned long state;
  unsigned long apart[15];
} generators[kCpus];

static __always_inline struct generator* begin(unsigned long* state) {
  struct generator* mine = &generators[bpf_get_smp_processor_id() & (kCpus - 1)];
  *state = mine->state + bpf_get_smp_processor_id() * 0x9e3779b97f4a7c15UL;
  return mine;
}

static __always_inline void end(struct generator* mine, unsigned long state) {
  mine->state = state - bpf_get_smp_processor_id() * 0x9e3779b97f4a7c15UL;
}

// BODY is done for every random `key`, and adds to `done` if it did what it is for. The section is for the
// kernel, where BPF_PROG_TEST_RUN repeats such programs; skep runs them as raw ones.
#define PROGRAM(name, BODY)                                          \
  SEC("tc") int name(void* context) {                                \
    unsigned long state, done = 0;                                   \
    struct generator* mine = begin(&state);                          \
    for (int n = 0; n < kOperations; ++n) {                          \
      state = state * 6364136223846793005UL + 1442695040888963407UL; \
      unsigned int key = (state >> 33) & (ENTRIES - 1);              \
      (void)key;                                                     \
      BODY                                                           \
    }                                                                \
    end(mine, state);                                                \
    return done;                                                     \
  }

#define LOOKUP(name, map)                                     \
  PROGRAM(name, {                                             \
    unsigned long* value = bpf_map_lookup_elem(&(map), &key); \
    if (value) done += *value == key;                         \
  })

#define UPDATE(name, map)                                            \
  PROGRAM(name, {                                                    \
    unsigned long value = key;                                       \
    done += bpf_map_update_elem(&(map), &key, &value, BPF_ANY) == 0; \
  })

#define REINSERT(name, map)                                          \
  PROGRAM(name, {                                                    \
    unsigned long value = key;                                       \
    bpf_map_delete_elem(&(map), &key);                               \
    done += bpf_map_update_elem(&(map), &key, &value, BPF_ANY) == 0; \
  })

// What the others cost beside the map: the loop, the key and where it is written.
PROGRAM(loop, {
  volatile unsigned int written = key;
  done += written != ENTRIES;
})
