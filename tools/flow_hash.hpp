#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace skep::tools {

// The Toeplitz key that Microsoft publishes with its verification suite for receive side scaling, and that
// network cards are commonly delivered with.
inline constexpr std::array<uint8_t, 40> kRssKey = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

// The Toeplitz hash of `input` under kRssKey. At most 36 bytes take part: no more have a key of their own.
uint32_t toeplitz_hash(std::span<const uint8_t> input);

// The hash by which a network card chooses a receive queue for an Ethernet frame: Toeplitz over source
// address, destination address, source port and destination port. Up to two VLAN tags, IPv4 options and IPv6
// extension headers are stepped over. Ports take part for TCP and UDP, but not in fragments, so that all
// fragments of a datagram hash alike. Any other frame, or one too short for its IP header, is hashed by its
// MAC addresses.
uint32_t flow_hash(std::span<const uint8_t> frame);

}  // namespace skep::tools
