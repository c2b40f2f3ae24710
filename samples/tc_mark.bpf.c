// A traffic classifier: marks packets by what they carry, sets their priority and drops broken ones.

#include <linux/pkt_cls.h>

#include "headers.bpf.h"

enum mark { kMarkNone, kMarkOther, kMarkIp, kMarkIcmp, kMarkUdp, kMarkTcp, kMarkBroken, kMarkCount };

enum { kLowPriority = 1, kNormalPriority = 4, kHighPriority = 6, kDnsPort = 53, kLargePacket = 1000 };

// Packets and bytes by mark.
struct tally {
  __u64 packets;
  __u64 bytes;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, kMarkCount);
  __type(key, __u32);
  __type(value, struct tally);
} marks SEC(".maps");

static __always_inline void count_mark(__u32 mark, __u32 bytes) {
  struct tally* tally = bpf_map_lookup_elem(&marks, &mark);
  if (!tally) return;
  __sync_fetch_and_add(&tally->packets, 1);
  __sync_fetch_and_add(&tally->bytes, bytes);
}

static __always_inline enum mark mark_of(enum parse_outcome outcome, __u8 protocol) {
  if (outcome == kNotIp) return kMarkOther;
  if (outcome != kParsed) return kMarkBroken;
  switch (protocol) {
    case IPPROTO_TCP:
      return kMarkTcp;
    case IPPROTO_UDP:
      return kMarkUdp;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return kMarkIcmp;
    default:
      return kMarkIp;
  }
}

static __always_inline __u32 priority_of(const struct __sk_buff* packet, const struct flow_key* flow) {
  if (flow->destination_port == bpf_htons(kDnsPort)) return kHighPriority;
  return packet->len >= kLargePacket ? kLowPriority : kNormalPriority;
}

SEC("tc")
int tc_mark(struct __sk_buff* packet) {
  struct cursor cursor = {(void*)(long)packet->data, (void*)(long)packet->data_end};
  struct flow_key flow = {};
  __be16 type = 0;
  enum mark mark = mark_of(parse_frame(&cursor, &type, &flow), flow.protocol);
  count_mark(mark, packet->len);
  if (mark == kMarkBroken) return TC_ACT_SHOT;
  packet->mark = mark;
  packet->priority = priority_of(packet, &flow);
  packet->tc_index = bpf_ntohs(type);
  packet->cb[0] = packet->len;
  return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
