// What bench_maps runs; see maps.bpf.h.
#include "maps.bpf.h"

struct wide_key {
  unsigned int words[4];
};

struct prefix {
  unsigned int length;
  unsigned int address;
};

struct record {
  unsigned long words[8];
};

KEYED(array, BPF_MAP_TYPE_ARRAY, unsigned int, 0);
KEYED(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, unsigned int, 0);
KEYED(hash, BPF_MAP_TYPE_HASH, unsigned int, 0);
KEYED(hash_wide, BPF_MAP_TYPE_HASH, struct wide_key, 0);
KEYED(hash_as_needed, BPF_MAP_TYPE_HASH, unsigned int, BPF_F_NO_PREALLOC);
KEYED(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, unsigned int, 0);

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, kPrefixes);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct prefix);
  __type(value, unsigned long);
} trie SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_QUEUE);
  __uint(max_entries, ENTRIES);
  __type(value, unsigned long);
} queue SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
} ring SEC(".maps");

static __always_inline void widen(struct wide_key* wide, unsigned int key) {
  wide->words[0] = key;
  wide->words[1] = 0;
  wide->words[2] = key;
  wide->words[3] = 1;
}

// An address within the prefix that make_key() in map_rows.cpp makes of the number.
static __always_inline void make_address(struct prefix* prefix, unsigned int key) {
  prefix->length = 32;
  prefix->address = bpf_htonl((unsigned int)(((unsigned long)key * kPrefixes) >> 32) * 2654435761U);
}

PROGRAM(loop_wide, {
  struct wide_key wide;
  widen(&wide, key);
  asm volatile("" ::"r"(&wide) : "memory");
  done += wide.words[3];
})
PROGRAM(loop_prefix, {
  struct prefix prefix;
  make_address(&prefix, state >> 32);
  asm volatile("" ::"r"(&prefix) : "memory");
  done += prefix.length == 32;
})

LOOKUP(array_lookup, array)
LOOKUP(percpu_array_lookup, percpu_array)
UPDATE(array_update, array)
LOOKUP(lookup, hash)
PROGRAM(lookup_wide, {
  struct wide_key wide;
  widen(&wide, key);
  unsigned long* value = bpf_map_lookup_elem(&hash_wide, &wide);
  if (value) done += *value == key;
})
UPDATE(replace, hash)
REINSERT(reinsert, hash)
REINSERT(reinsert_as_needed, hash_as_needed)
LOOKUP(percpu_lookup, percpu_hash)
UPDATE(percpu_update, percpu_hash)

PROGRAM(lpm_lookup, {
  struct prefix prefix;
  make_address(&prefix, state >> 32);
  unsigned long* value = bpf_map_lookup_elem(&trie, &prefix);
  done += value != 0;
})

PROGRAM(queue_push_pop, {
  unsigned long value = key;
  long refused = bpf_map_push_elem(&queue, &value, 0);
  refused |= bpf_map_pop_elem(&queue, &value);
  done += refused == 0;
})

struct record sample;

PROGRAM(ring_output, { done += bpf_ringbuf_output(&ring, &sample, sizeof sample, 0) == 0; })
PROGRAM(ring_reserve, {
  struct record* record = bpf_ringbuf_reserve(&ring, sizeof *record, 0);
  if (record) {
    record->words[0] = key;
    bpf_ringbuf_submit(record, 0);
    ++done;
  }
})

struct bpf_map;

static long count(struct bpf_map* map, const unsigned int* key, unsigned long* value, unsigned long* found) {
  *found += *value == *key;
  return 0;
}

#define WALK(name, map)                              \
  SEC("tc") int name(void* context) {                \
    unsigned long found = 0;                         \
    bpf_for_each_map_elem(&(map), count, &found, 0); \
    return found;                                    \
  }

WALK(array_walk, array)
WALK(walk, hash)
