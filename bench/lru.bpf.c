// What bench_maps runs of LRU maps; see maps.bpf.h.
#include "maps.bpf.h"

KEYED(lru, BPF_MAP_TYPE_LRU_HASH, unsigned int, 0);
KEYED(lru_full, BPF_MAP_TYPE_LRU_HASH, unsigned int, 0);

// Half of the entries are filled, so that nothing is evicted.
PROGRAM(lru_lookup, {
  key /= 2;
  unsigned long* value = bpf_map_lookup_elem(&lru, &key);
  if (value) done += *value == key;
})
PROGRAM(lru_update, {
  key /= 2;
  unsigned long value = key;
  done += bpf_map_update_elem(&lru, &key, &value, BPF_ANY) == 0;
})
// Of 2^32 keys, so nearly all are new, in a map that is full.
PROGRAM(lru_insert, {
  unsigned long value = key;
  key = state >> 32;
  done += bpf_map_update_elem(&lru_full, &key, &value, BPF_ANY) == 0;
})
