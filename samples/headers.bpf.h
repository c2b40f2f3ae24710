#pragma once

// Packet parsing shared by the samples: from an Ethernet frame to the flow it belongs to.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { kMaxVlanTags = 2, kMaxExtensionHeaders = 4, kFragmentOffsetMask = 0x1fff, kMoreFragments = 0x2000 };

enum parse_outcome {
  kParsed,     // an IPv4 or IPv6 packet; the flow key is complete
  kNotIp,      // a whole Ethernet frame that carries something else
  kTruncated,  // the frame ends inside a header, or before the length its IP header announces
  kMalformed,  // a header contradicts itself
};

// Which flow a packet belongs to. Addresses and ports are in network byte order; an IPv4 address is in the
// first word. Ports are zero where there are none, and for every fragment, so that a datagram's fragments
// stay together.
struct flow_key {
  __u32 source[4];
  __u32 destination[4];
  __be16 source_port;
  __be16 destination_port;
  __u8 family;  // 4 or 6
  __u8 protocol;
  __u16 unused;
};

struct vlan_tag {
  __be16 control;
  __be16 type;
};

struct extension_header {
  __u8 next;
  __u8 length;  // in units of eight bytes, the first eight not counted
  __be16 fragment_offset;
  __be32 rest;
};

struct port_pair {
  __be16 source;
  __be16 destination;
};

// What is left of the packet.
struct cursor {
  void* at;
  void* end;
};

// The next `size` bytes, or null if the packet is shorter.
static __always_inline void* take(struct cursor* cursor, __u32 size) {
  void* here = cursor->at;
  if (here + size > cursor->end) return 0;
  cursor->at = here + size;
  return here;
}

static __always_inline enum parse_outcome parse_ethernet(struct cursor* cursor, __be16* type) {
  struct ethhdr* ethernet = take(cursor, sizeof(*ethernet));
  if (!ethernet) return kTruncated;
  *type = ethernet->h_proto;
  for (int i = 0; i < kMaxVlanTags; i++) {
    if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD)) break;
    struct vlan_tag* tag = take(cursor, sizeof(*tag));
    if (!tag) return kTruncated;
    *type = tag->type;
  }
  return kParsed;
}

static __always_inline enum parse_outcome parse_ports(struct cursor* cursor, struct flow_key* flow) {
  if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP) return kParsed;
  struct port_pair* ports = take(cursor, flow->protocol == IPPROTO_TCP ? 20 : 8);
  if (!ports) return kTruncated;
  flow->source_port = ports->source;
  flow->destination_port = ports->destination;
  return kParsed;
}

static __always_inline enum parse_outcome parse_ipv4(struct cursor* cursor, struct flow_key* flow) {
  void* start = cursor->at;
  struct iphdr* ip = take(cursor, sizeof(*ip));
  if (!ip) return kTruncated;
  __u32 header_length = ip->ihl * 4;
  __u32 total_length = bpf_ntohs(ip->tot_len);
  if (ip->version != 4 || header_length < sizeof(*ip) || total_length < header_length) return kMalformed;
  if (!take(cursor, header_length - sizeof(*ip))) return kTruncated;
  if (start + total_length > cursor->end) return kTruncated;

  flow->family = 4;
  flow->protocol = ip->protocol;
  flow->source[0] = ip->saddr;
  flow->destination[0] = ip->daddr;
  if (ip->frag_off & bpf_htons(kFragmentOffsetMask | kMoreFragments)) return kParsed;
  return parse_ports(cursor, flow);
}

static __always_inline bool is_extension(__u8 protocol) {
  return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
         protocol == IPPROTO_DSTOPTS;
}

// Steps over extension headers and leaves the upper protocol in the flow. `*fragment` tells whether there was
// a fragment header.
static __always_inline enum parse_outcome skip_extensions(struct cursor* cursor, struct flow_key* flow,
                                                          bool* fragment) {
  for (int i = 0; i < kMaxExtensionHeaders; i++) {
    if (!is_extension(flow->protocol)) break;
    struct extension_header* extension = take(cursor, sizeof(*extension));
    if (!extension) return kTruncated;
    bool is_fragment = flow->protocol == IPPROTO_FRAGMENT;
    __u32 more = is_fragment ? 0 : extension->length * 8;
    if (!take(cursor, more)) return kTruncated;
    flow->protocol = extension->next;
    *fragment |= is_fragment;
  }
  return kParsed;
}

static __always_inline enum parse_outcome parse_ipv6(struct cursor* cursor, struct flow_key* flow) {
  struct ipv6hdr* ip = take(cursor, sizeof(*ip));
  if (!ip) return kTruncated;
  if (ip->version != 6) return kMalformed;
  __u32 payload_length = bpf_ntohs(ip->payload_len);
  if (cursor->at + payload_length > cursor->end) return kTruncated;

  flow->family = 6;
  flow->protocol = ip->nexthdr;
  __builtin_memcpy(flow->source, &ip->saddr, sizeof(flow->source));
  __builtin_memcpy(flow->destination, &ip->daddr, sizeof(flow->destination));
  bool fragment = false;
  enum parse_outcome outcome = skip_extensions(cursor, flow, &fragment);
  if (outcome != kParsed || fragment) return outcome;
  return parse_ports(cursor, flow);
}

// Fills a zeroed `flow` from a frame. `*type` is the EtherType behind the VLAN tags, in network byte order.
static __always_inline enum parse_outcome parse_frame(struct cursor* cursor, __be16* type,
                                                      struct flow_key* flow) {
  enum parse_outcome outcome = parse_ethernet(cursor, type);
  if (outcome != kParsed) return outcome;
  if (*type == bpf_htons(ETH_P_IP)) return parse_ipv4(cursor, flow);
  if (*type == bpf_htons(ETH_P_IPV6)) return parse_ipv6(cursor, flow);
  return kNotIp;
}
