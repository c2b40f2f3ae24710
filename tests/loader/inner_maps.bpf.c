// Maps of maps with their values written down in the source.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct inner {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_INNER_MAP);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u64);
};

struct inner first SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_INNER_MAP);
  __uint(max_entries, 5);
  __type(key, __u32);
  __type(value, __u64);
} second SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 4);
  __type(key, __u32);
  __array(values, struct inner);
} outer SEC(".maps") = {
    .values = {[0] = &first, [2] = (void*)&second},
};

// Indices are the keys.
struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, 4);
  __type(key, __u32);
  __array(values, struct inner);
} by_key SEC(".maps") = {
    .values = {[1] = &first, [3] = (void*)&second},
};

// Counts in element 1 of each inner map there is; returns how many maps had one.
SEC("xdp")
int count(struct xdp_md* ctx) {
  int found = 0;
  for (__u32 index = 0; index < 5; ++index) {
    void* map = bpf_map_lookup_elem(&outer, &index);
    if (!map) continue;
    __u32 key = 1;
    __u64* value = bpf_map_lookup_elem(map, &key);
    if (!value) continue;
    *value += index + 1;
    found++;
    __u64 copy = *value * 10;
    key = 0;
    bpf_map_update_elem(map, &key, &copy, BPF_ANY);
  }
  return found;
}

// The same for what is found by key: adds 100 times the key.
SEC("xdp")
int count_by_key(struct xdp_md* ctx) {
  int found = 0;
  for (__u32 key = 0; key < 5; ++key) {
    void* map = bpf_map_lookup_elem(&by_key, &key);
    if (!map) continue;
    __u32 one = 1;
    __u64* value = bpf_map_lookup_elem(map, &one);
    if (!value) continue;
    *value += 100 * key;
    found++;
  }
  return found;
}

char _license[] SEC("license") = "GPL";
