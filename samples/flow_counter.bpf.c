// Counts packets and bytes per flow and per IP protocol, answers IPv4 pings and drops what is broken.

#include "headers.bpf.h"

enum { kEchoReply = 0, kEchoRequest = 8 };

// <linux/icmp.h> cannot be had for this target: it includes <sys/socket.h>.
struct icmp_header {
  __u8 type;
  __u8 code;
  __sum16 checksum;
  __be16 id;
  __be16 sequence;
};

struct flow_counters {
  __u64 packets;
  __u64 bytes;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct flow_key);
  __type(value, struct flow_counters);
} flows SEC(".maps");

// Packets by IP protocol number.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 256);
  __type(key, __u32);
  __type(value, __u64);
} protocols SEC(".maps");

static __noinline void count_flow(const struct flow_key* flow, __u64 bytes) {
  struct flow_counters* counters = bpf_map_lookup_elem(&flows, flow);
  if (!counters) {
    struct flow_counters none = {};
    bpf_map_update_elem(&flows, flow, &none, BPF_NOEXIST);
    counters = bpf_map_lookup_elem(&flows, flow);
    if (!counters) return;
  }
  __sync_fetch_and_add(&counters->packets, 1);
  __sync_fetch_and_add(&counters->bytes, bytes);
}

static __always_inline void count_protocol(__u32 protocol) {
  __u64* packets = bpf_map_lookup_elem(&protocols, &protocol);
  if (packets) *packets += 1;
}

static __always_inline void swap_addresses(struct ethhdr* ethernet, struct iphdr* ip) {
  __u8 mac[ETH_ALEN];
  __builtin_memcpy(mac, ethernet->h_dest, ETH_ALEN);
  __builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
  __builtin_memcpy(ethernet->h_source, mac, ETH_ALEN);
  __be32 address = ip->saddr;
  ip->saddr = ip->daddr;
  ip->daddr = address;
}

// Turns an untagged echo request, without IP options and unfragmented, into its reply.
static __always_inline bool answer_ping(struct xdp_md* context) {
  struct cursor cursor = {(void*)(long)context->data, (void*)(long)context->data_end};
  struct ethhdr* ethernet = take(&cursor, sizeof(*ethernet));
  if (!ethernet || ethernet->h_proto != bpf_htons(ETH_P_IP)) return false;
  struct iphdr* ip = take(&cursor, sizeof(*ip));
  if (!ip || ip->ihl != 5 || ip->protocol != IPPROTO_ICMP) return false;
  if (ip->frag_off & bpf_htons(kFragmentOffsetMask | kMoreFragments)) return false;
  struct icmp_header* icmp = take(&cursor, sizeof(*icmp));
  if (!icmp || icmp->type != kEchoRequest) return false;

  swap_addresses(ethernet, ip);
  // The type alone changes, from 8 to 0: RFC 1624, HC' = ~(~HC + ~m + m').
  __u32 sum = (__u16)~icmp->checksum + (__u16)~bpf_htons(kEchoRequest << 8);
  sum = (sum & 0xffff) + (sum >> 16);
  icmp->checksum = (__u16) ~((sum & 0xffff) + (sum >> 16));
  icmp->type = kEchoReply;
  return true;
}

SEC("xdp")
int flow_counter(struct xdp_md* context) {
  struct cursor cursor = {(void*)(long)context->data, (void*)(long)context->data_end};
  __u64 bytes = context->data_end - context->data;
  struct flow_key flow = {};
  __be16 type = 0;
  enum parse_outcome outcome = parse_frame(&cursor, &type, &flow);
  if (outcome == kNotIp) return XDP_PASS;
  if (outcome != kParsed) return XDP_DROP;

  count_flow(&flow, bytes);
  count_protocol(flow.protocol);
  return answer_ping(context) ? XDP_TX : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
