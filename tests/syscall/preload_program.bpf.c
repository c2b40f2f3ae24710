#include <linux/bpf.h>
// After <linux/bpf.h>.
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");

const volatile int step = 5;

SEC("xdp")
int count(struct xdp_md* context) {
  __u32 key = 1;
  __u64* value = bpf_map_lookup_elem(&hits, &key);
  if (value) __sync_fetch_and_add(value, step);
  return XDP_DROP;
}

char program_license[] SEC("license") = "GPL";
