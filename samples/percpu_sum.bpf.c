// Counts packets by EtherType on the CPU that sees them and keeps, beside it, the sum over all CPUs.

#include "headers.bpf.h"

struct counters {
  __u64 packets;
  __u64 bytes;
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, struct counters);
} per_cpu SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, struct counters);
} totals SEC(".maps");

// How many CPUs to sum over. CPUs that do not exist end the sum early, so the default is merely large enough.
const volatile __u32 cpu_count = 64;

struct sum {
  __u32 key;
  struct counters total;
};

static long add_cpu(__u32 cpu, void* context) {
  struct sum* sum = context;
  __u32 key = sum->key;
  struct counters* counters = bpf_map_lookup_percpu_elem(&per_cpu, &key, cpu);
  if (!counters) return 1;
  sum->total.packets += counters->packets;
  sum->total.bytes += counters->bytes;
  return 0;
}

static __always_inline void count(__u32 key, __u64 bytes) {
  struct counters* counters = bpf_map_lookup_elem(&per_cpu, &key);
  if (counters) {
    counters->packets++;
    counters->bytes += bytes;
    return;
  }
  struct counters first = {.packets = 1, .bytes = bytes};
  bpf_map_update_elem(&per_cpu, &key, &first, BPF_ANY);
}

SEC("xdp")
int percpu_sum(struct xdp_md* context) {
  struct cursor cursor = {(void*)(long)context->data, (void*)(long)context->data_end};
  __be16 type = 0;
  if (parse_ethernet(&cursor, &type) != kParsed) return XDP_DROP;

  __u32 key = bpf_ntohs(type);
  count(key, context->data_end - context->data);
  struct sum sum = {.key = key};
  bpf_loop(cpu_count, add_cpu, &sum, 0);
  bpf_map_update_elem(&totals, &key, &sum.total, BPF_ANY);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
