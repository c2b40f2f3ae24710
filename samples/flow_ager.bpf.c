// Keeps a table of live flows. Time is counted in packets: every so many packets a sweep over the table
// deletes the flows that have been idle for too long.

#include "headers.bpf.h"

struct flow_state {
  __u64 packets;
  __u64 last_tick;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct flow_key);
  __type(value, struct flow_state);
} live_flows SEC(".maps");

const volatile __u64 sweep_interval = 64;
const volatile __u64 max_idle = 128;

__u64 ticks;
__u64 sweeps;
__u64 visited;
__u64 aged_out;

struct sweep {
  __u64 now;
  __u64 visited;
  __u64 aged_out;
};

static long age_flow(void* map, const void* key, void* value, void* context) {
  struct flow_state* state = value;
  struct sweep* sweep = context;
  sweep->visited++;
  if (sweep->now - state->last_tick <= max_idle) return 0;
  if (bpf_map_delete_elem(map, key) == 0) sweep->aged_out++;
  return 0;
}

static __always_inline void sweep_flows(__u64 now) {
  struct sweep sweep = {.now = now};
  bpf_for_each_map_elem(&live_flows, age_flow, &sweep, 0);
  __sync_fetch_and_add(&sweeps, 1);
  __sync_fetch_and_add(&visited, sweep.visited);
  __sync_fetch_and_add(&aged_out, sweep.aged_out);
}

static __always_inline void touch_flow(const struct flow_key* flow, __u64 now) {
  struct flow_state* state = bpf_map_lookup_elem(&live_flows, flow);
  if (state) {
    __sync_fetch_and_add(&state->packets, 1);
    state->last_tick = now;
    return;
  }
  struct flow_state first = {.packets = 1, .last_tick = now};
  bpf_map_update_elem(&live_flows, flow, &first, BPF_NOEXIST);
}

SEC("xdp")
int flow_ager(struct xdp_md* context) {
  struct cursor cursor = {(void*)(long)context->data, (void*)(long)context->data_end};
  struct flow_key flow = {};
  __be16 type = 0;
  __u64 now = __sync_fetch_and_add(&ticks, 1) + 1;
  if (parse_frame(&cursor, &type, &flow) == kParsed) touch_flow(&flow, now);
  if (sweep_interval != 0 && now % sweep_interval == 0) sweep_flows(now);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
