// A socket filter: keeps the beginning of IP packets, nothing of the rest, and a histogram of lengths. It
// expects the network header first, as a datagram packet socket delivers it.

#include "headers.bpf.h"

enum { kBuckets = 12 };

// Packets by length: bucket n counts lengths from 2^n up to 2^(n+1) - 1, the last one whatever is longer.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, kBuckets);
  __type(key, __u32);
  __type(value, __u64);
} lengths SEC(".maps");

const volatile __u32 keep = 96;

__u64 tcp_packets;

static __always_inline __u32 bucket_of(__u32 length) {
  __u32 bucket = 0;
  for (int i = 0; i < kBuckets - 1; i++) {
    length >>= 1;
    if (length == 0) break;
    bucket++;
  }
  return bucket;
}

static __always_inline void count_length(__u32 length) {
  __u32 bucket = bucket_of(length);
  __u64* packets = bpf_map_lookup_elem(&lengths, &bucket);
  if (packets) __sync_fetch_and_add(packets, 1);
}

static __always_inline bool carries_tcp(struct __sk_buff* packet) {
  __u8 protocol = 0;
  __u32 offset = packet->protocol == bpf_htons(ETH_P_IP) ? 9 : 6;
  return bpf_skb_load_bytes(packet, offset, &protocol, sizeof(protocol)) == 0 && protocol == IPPROTO_TCP;
}

SEC("socket")
int sock_len(struct __sk_buff* packet) {
  count_length(packet->len);
  if (packet->protocol != bpf_htons(ETH_P_IP) && packet->protocol != bpf_htons(ETH_P_IPV6)) return 0;
  if (carries_tcp(packet)) __sync_fetch_and_add(&tcp_packets, 1);
  return packet->len < keep ? packet->len : keep;
}

char LICENSE[] SEC("license") = "GPL";
