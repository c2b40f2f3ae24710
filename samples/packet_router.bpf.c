// A router: IP packets go to the device of the network they are for, pings to a CPU that looks at them, and
// what is not IP to all devices but the one it came by. Each device's program has the last word over what
// leaves.

#include "headers.bpf.h"

enum { kPingCpu = 1, kIpv4Prefix = 24, kDevices = 16 };

// By network: the first 24 bits of an IPv4 address, the third 16 bits of an IPv6 address.
struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
  __uint(max_entries, 16);
  __type(key, __u32);
  __type(value, struct bpf_devmap_val);
} networks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_CPUMAP);
  __uint(max_entries, 16);
  __type(key, __u32);
  __type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

// Pings, by the CPU that saw them.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} pings SEC(".maps");

__u64 leaving[kDevices];  // packets that devices' programs let go, by ifindex
__u64 expired;            // packets that had no hop left

static __always_inline __u32 network_of(const struct flow_key* flow) {
  if (flow->family == 4) return bpf_ntohl(flow->destination[0]) >> (32 - kIpv4Prefix);
  return bpf_ntohl(flow->destination[1]) >> 16;
}

SEC("xdp")
int packet_router(struct xdp_md* context) {
  struct cursor cursor = {(void*)(long)context->data, (void*)(long)context->data_end};
  struct flow_key flow = {};
  __be16 type = 0;
  enum parse_outcome outcome = parse_frame(&cursor, &type, &flow);
  if (outcome == kNotIp) return (int)bpf_redirect_map(&networks, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
  if (outcome != kParsed) return XDP_DROP;
  if (flow.protocol == IPPROTO_ICMP || flow.protocol == IPPROTO_ICMPV6)
    return (int)bpf_redirect_map(&cpus, kPingCpu, XDP_PASS);
  return (int)bpf_redirect_map(&networks, network_of(&flow), XDP_PASS);
}

// One hop less; false: there was none left. RFC 1624 for the checksum.
static __always_inline bool take_hop(struct ethhdr* ethernet, void* end) {
  if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr* ip6 = (void*)(ethernet + 1);
    if ((void*)(ip6 + 1) > end) return true;
    return ip6->hop_limit != 0 && --ip6->hop_limit != 0;
  }
  struct iphdr* ip = (void*)(ethernet + 1);
  if (ethernet->h_proto != bpf_htons(ETH_P_IP) || (void*)(ip + 1) > end) return true;
  if (ip->ttl <= 1) return false;
  --ip->ttl;
  __u32 sum = ip->check + bpf_htons(0x100);
  ip->check = (__u16)(sum + (sum >> 16));
  return true;
}

// For elements of `networks`: leaves by the device's address, 02:00:00:00:00 and its number.
SEC("xdp/devmap")
int on_device(struct xdp_md* context) {
  void* end = (void*)(long)context->data_end;
  struct ethhdr* ethernet = (void*)(long)context->data;
  __u32 device = context->egress_ifindex;
  if ((void*)(ethernet + 1) > end) return XDP_DROP;
  if (!take_hop(ethernet, end)) {
    __sync_fetch_and_add(&expired, 1);
    return XDP_DROP;
  }
  __builtin_memset(ethernet->h_source, 0, sizeof(ethernet->h_source));
  ethernet->h_source[0] = 2;
  ethernet->h_source[5] = (__u8)device;
  __sync_fetch_and_add(&leaving[device & (kDevices - 1)], 1);
  return XDP_PASS;
}

// For elements of `cpus`.
SEC("xdp/cpumap")
int on_cpu(struct xdp_md* context) {
  __u32 zero = 0;
  __u64* count = bpf_map_lookup_elem(&pings, &zero);
  if (count) ++*count;
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
