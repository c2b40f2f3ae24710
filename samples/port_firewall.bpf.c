// Drops TCP and UDP packets by destination port. The loader sets the list before it loads the program.

#include "headers.bpf.h"

enum { kMaxPorts = 8 };

const volatile __u16 ports[kMaxPorts] = {23, 53, 445, 3389};
const volatile __u32 port_count = 4;
// False: the listed ports are blocked. True: only the listed ports are allowed.
const volatile bool allow_listed = false;

__u64 passed;
__u64 dropped;
__u64 broken;
__u64 matched[kMaxPorts];  // packets by position in the list

// The position of `port` in the list, or -1.
static __always_inline int find_port(__u16 port) {
  for (__u32 i = 0; i < kMaxPorts; i++) {
    if (i >= port_count) break;
    if (ports[i] == port) return (int)i;
  }
  return -1;
}

static __always_inline bool admits(__u16 port) {
  int position = find_port(port);
  if (position < 0) return !allow_listed;
  __sync_fetch_and_add(&matched[position & (kMaxPorts - 1)], 1);
  return allow_listed;
}

SEC("xdp")
int port_firewall(struct xdp_md* context) {
  struct cursor cursor = {(void*)(long)context->data, (void*)(long)context->data_end};
  struct flow_key flow = {};
  __be16 type = 0;
  enum parse_outcome outcome = parse_frame(&cursor, &type, &flow);
  if (outcome == kTruncated || outcome == kMalformed) {
    __sync_fetch_and_add(&broken, 1);
    return XDP_DROP;
  }
  // What has no ports (a fragment, ICMP, ARP) has port zero here and is not the firewall's business.
  __u16 port = bpf_ntohs(flow.destination_port);
  if (port != 0 && !admits(port)) {
    __sync_fetch_and_add(&dropped, 1);
    bpf_printk("dropped protocol %u port %u", flow.protocol, port);
    return XDP_DROP;
  }
  __sync_fetch_and_add(&passed, 1);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
