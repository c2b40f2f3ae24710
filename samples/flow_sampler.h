#pragma once

// One flow in eight, chosen by a hash of its addresses, ports and protocol. For BPF and for the host: it
// reads its packet and nothing else.

#include "headers.bpf.h"

enum { kOneIn = 8 };

static __always_inline __u32 mix(__u32 hash, __u32 word) {
  word *= 0xcc9e2d51;
  word = word << 15 | word >> 17;
  hash ^= word * 0x1b873593;
  hash = hash << 13 | hash >> 19;
  return hash * 5 + 0xe6546b64;
}

static __always_inline __u32 hash_of_flow(const struct flow_key* flow) {
  __u32 hash = 0;
  for (int i = 0; i < 4; i++) hash = mix(hash, flow->source[i]);
  for (int i = 0; i < 4; i++) hash = mix(hash, flow->destination[i]);
  hash = mix(hash, (__u32)flow->source_port << 16 | flow->destination_port);
  hash = mix(hash, flow->protocol);
  hash ^= hash >> 16;
  hash *= 0x85ebca6b;
  return hash ^ hash >> 13;
}

// XDP_PASS for the packets of a sampled flow and for what is not IP; XDP_ABORTED for broken packets.
static __always_inline int sample_flow(void* packet, void* end) {
  struct cursor cursor = {packet, end};
  struct flow_key flow = {};
  __be16 type = 0;
  enum parse_outcome outcome = parse_frame(&cursor, &type, &flow);
  if (outcome == kNotIp) return XDP_PASS;
  if (outcome != kParsed) return XDP_ABORTED;
  return hash_of_flow(&flow) % kOneIn == 0 ? XDP_PASS : XDP_DROP;
}
