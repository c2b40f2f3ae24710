// Counts the packets of live flows, under a lock, and has a timer for each: a flow that is idle for too long
// is deleted by its timer's callback.

#include "headers.bpf.h"

#include <linux/time.h>

struct flow_state {
  struct bpf_spin_lock lock;
  __u32 unused;
  __u64 packets;
  __u64 bytes;
  struct bpf_timer timer;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct flow_key);
  __type(value, struct flow_state);
} live_flows SEC(".maps");

const volatile __u64 max_idle_ns = 1000000000;

__u64 expired;

static int expire(void* map, struct flow_key* flow, struct flow_state* state) {
  __sync_fetch_and_add(&expired, 1);
  bpf_map_delete_elem(map, flow);
  return 0;
}

SEC("xdp")
int flow_expiry(struct xdp_md* context) {
  struct cursor cursor = {(void*)(long)context->data, (void*)(long)context->data_end};
  struct flow_key flow = {};
  __be16 type = 0;
  if (parse_frame(&cursor, &type, &flow) != kParsed) return XDP_PASS;

  struct flow_state* state = bpf_map_lookup_elem(&live_flows, &flow);
  if (!state) {
    struct flow_state first = {};
    bpf_map_update_elem(&live_flows, &flow, &first, BPF_NOEXIST);
    state = bpf_map_lookup_elem(&live_flows, &flow);
    if (!state) return XDP_PASS;
    // Of several CPUs one sets it up.
    if (bpf_timer_init(&state->timer, &live_flows, CLOCK_MONOTONIC) == 0)
      bpf_timer_set_callback(&state->timer, expire);
  }
  __u64 size = context->data_end - context->data;
  bpf_spin_lock(&state->lock);
  state->packets++;
  state->bytes += size;
  bpf_spin_unlock(&state->lock);
  bpf_timer_start(&state->timer, max_idle_ns, 0);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
