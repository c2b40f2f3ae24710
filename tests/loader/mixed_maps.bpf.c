// A legacy map beside BTF maps.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct bpf_map_def {
  unsigned int type;
  unsigned int key_size;
  unsigned int value_size;
  unsigned int max_entries;
  unsigned int map_flags;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u64);
} modern SEC(".maps");

struct bpf_map_def SEC("maps") legacy = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(__u64),
    .max_entries = 3,
};

static struct bpf_map_def SEC("maps") hidden_legacy = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(__u64),
    .max_entries = 4,
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 5);
  __type(key, __u32);
  __type(value, __u64);
} modern_table SEC(".maps");

static __always_inline void add(void* map, __u32 key, __u64 amount) {
  bpf_map_update_elem(map, &key, &amount, BPF_ANY);
}

SEC("xdp")
int count(struct xdp_md* ctx) {
  add(&modern, 0, 1);
  add(&legacy, 0, 2);
  add(&hidden_legacy, 0, 3);
  add(&modern_table, 0, 4);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
