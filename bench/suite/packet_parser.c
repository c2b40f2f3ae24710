// Parses Ethernet frames, each in a slot of 128 bytes: up to two VLAN tags, IPv4 with options or IPv6, TCP or
// UDP.
#include "suite.h"

enum {
  kSlot = 128,
  kPasses = 32,
  kEthernet = 14,
  kVlanTag = 4,
  kIpv6Header = 40,
  kPortBytes = 4,
  kTypeVlan = 0x8100,
  kTypeQinQ = 0x88a8,
  kTypeIpv4 = 0x0800,
  kTypeIpv6 = 0x86dd,
  kTcp = 6,
  kUdp = 17,
};

SUITE_INLINE uint16_t big_endian16(const uint8_t* at) { return __builtin_bswap16(*(const uint16_t*)at); }
SUITE_INLINE uint32_t big_endian32(const uint8_t* at) { return __builtin_bswap32(*(const uint32_t*)at); }

SUITE_INLINE uint64_t parse(const uint8_t* frame, const uint8_t* end) {
  const uint8_t* at = frame;
  if (at + kEthernet > end) return 1;
  uint16_t type = big_endian16(at + 12);
  at += kEthernet;
  uint64_t found = 0;
  for (int tag = 0; tag < 2; ++tag) {
    if (type != kTypeVlan && type != kTypeQinQ) break;
    if (at + kVlanTag > end) return 2;
    found = found * 31 + (big_endian16(at) & 0xfff);
    type = big_endian16(at + 2);
    at += kVlanTag;
  }
  uint8_t protocol;
  if (type == kTypeIpv4) {
    if (at + 20 > end) return 3;
    const uint64_t header = (uint64_t)(at[0] & 0xf) * 4;
    if (at[0] >> 4 != 4 || header < 20) return 4;
    protocol = at[9];
    found = found * 31 + (big_endian32(at + 12) ^ big_endian32(at + 16));
    at += header;
  } else if (type == kTypeIpv6) {
    if (at + kIpv6Header > end) return 5;
    protocol = at[6];
    for (int word = 0; word < 8; ++word) found = found * 31 + big_endian32(at + 8 + word * 4);
    at += kIpv6Header;
  } else {
    return 6;
  }
  if (protocol != kTcp && protocol != kUdp) return found * 31 + protocol;
  if (at + kPortBytes > end) return 7;
  return (found * 31 + big_endian16(at)) * 31 + big_endian16(at + 2);
}

SUITE_PROGRAM(packet_parser) {
  uint64_t checksum = 0;
  for (int pass = 0; pass < kPasses; ++pass)
    for (uint64_t slot = 0; slot + kSlot <= length; slot += kSlot)
      checksum = checksum * 31 + parse(memory + slot, end);
  return checksum;
}
