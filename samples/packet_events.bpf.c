// Tells user space of what it sees: an event in a ring buffer for the first packet of each conversation and
// for each broken packet.

#include "headers.bpf.h"

enum { kMaxConversations = 4096 };

struct packet_event {
  struct flow_key flow;
  __u32 length;
  __u8 outcome;  // enum parse_outcome
  __u8 unused[3];
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, kMaxConversations);
  __type(key, struct flow_key);
  __type(value, __u8);
} known SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
} events SEC(".maps");

__u64 sent;
__u64 dropped;  // events that found the ring full

// So that the object's BTF has the type, for whoever reads the records.
const struct packet_event* unused_event __attribute__((unused));

static __always_inline bool is_new(const struct flow_key* flow) {
  __u8 one = 1;
  return bpf_map_update_elem(&known, flow, &one, BPF_NOEXIST) == 0;
}

SEC("xdp")
int packet_events(struct xdp_md* packet) {
  struct cursor cursor = {(void*)(long)packet->data, (void*)(long)packet->data_end};
  __u32 length = cursor.end - cursor.at;
  struct flow_key flow = {};
  __be16 type = 0;
  enum parse_outcome outcome = parse_frame(&cursor, &type, &flow);
  if (outcome == kNotIp || (outcome == kParsed && !is_new(&flow))) return XDP_PASS;

  struct packet_event* event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) {
    __sync_fetch_and_add(&dropped, 1);
    return XDP_PASS;
  }
  *event = (struct packet_event){.flow = flow, .length = length, .outcome = outcome};
  bpf_ringbuf_submit(event, 0);
  __sync_fetch_and_add(&sent, 1);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
