// Legacy maps of several kinds, each counted into by its own amount, so that a map taken for another shows.
// SKIP_STATIC leaves out the static ones, LONG_DEFINITION adds fields that are zero.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct bpf_map_def {
  unsigned int type;
  unsigned int key_size;
  unsigned int value_size;
  unsigned int max_entries;
  unsigned int map_flags;
#ifdef LONG_DEFINITION
  unsigned int inner_map_idx;
  unsigned int numa_node;
#endif
};

struct bpf_map_def SEC("maps") counts = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(__u64),
    .max_entries = 3,
};

#ifndef SKIP_STATIC
static struct bpf_map_def SEC("maps") hidden_counts = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = 12,
    .max_entries = 5,
};

static struct bpf_map_def SEC("maps") hidden_table = {
    .type = BPF_MAP_TYPE_HASH,
    .key_size = sizeof(__u32),
    .value_size = sizeof(__u64),
    .max_entries = 7,
};
#endif

struct bpf_map_def SEC("maps") table = {
    .type = BPF_MAP_TYPE_HASH,
    .key_size = sizeof(__u32),
    .value_size = sizeof(__u64),
    .max_entries = 1u << 31,
    .map_flags = BPF_F_NO_PREALLOC,
};

struct bpf_map_def SEC("maps") small_table __attribute__((visibility("hidden"))) = {
    .type = BPF_MAP_TYPE_HASH,
    .key_size = sizeof(__u32),
    .value_size = sizeof(__u64),
    .max_entries = 9,
};

__u64 runs = 0;

static __always_inline void add(void* map, __u32 key, __u64 amount) {
  bpf_map_update_elem(map, &key, &amount, BPF_ANY);
}

SEC("xdp")
int count(struct xdp_md* ctx) {
  add(&counts, 0, 1);
#ifndef SKIP_STATIC
  __u32 first = 0;
  __u32* value = bpf_map_lookup_elem(&hidden_counts, &first);
  if (value) *value = 2;
  add(&hidden_table, 3, 3);
#endif
  add(&small_table, 4, 4);
  ++runs;
  return XDP_PASS;
}

SEC("xdp")
int count_in_table(struct xdp_md* ctx) {
  add(&table, 5, 5);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
