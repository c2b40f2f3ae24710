// What bench_maps runs: programs that do one thing to a map, kOperations times, with keys in random order.
// Built once for each number of entries.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#ifndef ENTRIES
#define ENTRIES 65536
#endif

// As in bench_maps.cpp.
enum { kOperations = 256, kCpus = 1024 };

char LICENSE[] SEC("license") = "GPL";

struct wide_key {
  unsigned int words[4];
};

#define HASH(name, map_type, key_type, flags) \
  struct {                                    \
    __uint(type, map_type);                   \
    __uint(max_entries, ENTRIES);             \
    __uint(map_flags, flags);                 \
    __type(key, key_type);                    \
    __type(value, unsigned long);             \
  } name SEC(".maps")

HASH(hash, BPF_MAP_TYPE_HASH, unsigned int, 0);
HASH(hash_wide, BPF_MAP_TYPE_HASH, struct wide_key, 0);
HASH(hash_as_needed, BPF_MAP_TYPE_HASH, unsigned int, BPF_F_NO_PREALLOC);
HASH(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, unsigned int, 0);

// Each CPU goes on where its last run ended.
struct generator {
  unsigned long state;
  unsigned long apart[15];
} generators[kCpus];

static struct generator* begin(unsigned long* state) {
  struct generator* mine = &generators[bpf_get_smp_processor_id() & (kCpus - 1)];
  *state = mine->state + bpf_get_smp_processor_id() * 0x9e3779b97f4a7c15UL;
  return mine;
}

static void end(struct generator* mine, unsigned long state) {
  mine->state = state - bpf_get_smp_processor_id() * 0x9e3779b97f4a7c15UL;
}

// BODY is done for every random `key`.
#define PROGRAM(name, BODY)                                          \
  SEC("raw") unsigned long name(void* memory) {                      \
    unsigned long state, done = 0;                                   \
    struct generator* mine = begin(&state);                          \
    for (int n = 0; n < kOperations; ++n) {                          \
      state = state * 6364136223846793005UL + 1442695040888963407UL; \
      unsigned int key = (state >> 33) & (ENTRIES - 1);              \
      BODY                                                           \
    }                                                                \
    end(mine, state);                                                \
    return done;                                                     \
  }

static void widen(struct wide_key* wide, unsigned int key) {
  wide->words[0] = key;
  wide->words[1] = 0;
  wide->words[2] = key;
  wide->words[3] = 1;
}

// What the others cost beside the map: the loop, the key and where it is written.
PROGRAM(loop, {
  volatile unsigned int written = key;
  done += written != ENTRIES;
})
PROGRAM(loop_wide, {
  struct wide_key wide;
  widen(&wide, key);
  asm volatile("" ::"r"(&wide) : "memory");
  done += wide.words[3];
})

PROGRAM(lookup, {
  unsigned long* value = bpf_map_lookup_elem(&hash, &key);
  if (value) done += *value == key;
})
PROGRAM(lookup_wide, {
  struct wide_key wide;
  widen(&wide, key);
  unsigned long* value = bpf_map_lookup_elem(&hash_wide, &wide);
  if (value) done += *value == key;
})
PROGRAM(replace, {
  unsigned long value = key;
  done += bpf_map_update_elem(&hash, &key, &value, BPF_ANY) == 0;
})
PROGRAM(reinsert, {
  unsigned long value = key;
  bpf_map_delete_elem(&hash, &key);
  done += bpf_map_update_elem(&hash, &key, &value, BPF_ANY) == 0;
})
PROGRAM(reinsert_as_needed, {
  unsigned long value = key;
  bpf_map_delete_elem(&hash_as_needed, &key);
  done += bpf_map_update_elem(&hash_as_needed, &key, &value, BPF_ANY) == 0;
})
PROGRAM(percpu_lookup, {
  unsigned long* value = bpf_map_lookup_elem(&percpu_hash, &key);
  if (value) done += *value == key;
})
PROGRAM(percpu_update, {
  unsigned long value = key;
  done += bpf_map_update_elem(&percpu_hash, &key, &value, BPF_ANY) == 0;
})

struct bpf_map;

static long count(struct bpf_map* map, const unsigned int* key, unsigned long* value, unsigned long* found) {
  *found += *value == *key;
  return 0;
}

SEC("raw") unsigned long walk(void* memory) {
  unsigned long found = 0;
  bpf_for_each_map_elem(&hash, count, &found, 0);
  return found;
}
