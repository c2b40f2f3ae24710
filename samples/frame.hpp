#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace skep::samples {

using Bytes = std::vector<uint8_t>;
using MacAddress = std::array<uint8_t, 6>;

inline constexpr uint16_t kTypeIpv4 = 0x0800;
inline constexpr uint16_t kTypeArp = 0x0806;
inline constexpr uint16_t kTypeVlan = 0x8100;
inline constexpr uint16_t kTypeIpv6 = 0x86dd;
inline constexpr uint16_t kTypeServiceVlan = 0x88a8;

inline constexpr uint8_t kProtocolHopByHop = 0;
inline constexpr uint8_t kProtocolIcmp = 1;
inline constexpr uint8_t kProtocolTcp = 6;
inline constexpr uint8_t kProtocolUdp = 17;
inline constexpr uint8_t kProtocolFragment = 44;
inline constexpr uint8_t kProtocolIcmpv6 = 58;

// An IPv4 address (4 bytes) or an IPv6 address (16 bytes).
using Address = Bytes;

struct Endpoint {
  MacAddress mac{};
  Address address;
  uint16_t port = 0;

  bool is_ipv6() const { return address.size() == 16; }
};

// A frame as the list of its headers, outermost first, and what they carry. Each header begins where the one
// before it ends, so a frame can be cut inside any of them.
struct Frame {
  std::vector<Bytes> headers;
  Bytes payload;

  void push_outer(Bytes header) { headers.insert(headers.begin(), std::move(header)); }
  size_t size() const;
  // The bytes on the wire: padded with zeros to the 60 that Ethernet asks for at least.
  Bytes wire() const;
  // The first `size` bytes, as a capture that was cut short has them.
  Bytes cut(size_t size) const;
};

struct TcpFields {
  uint32_t sequence = 0;
  uint32_t acknowledgment = 0;
  uint8_t flags = 0;
  Bytes options;  // a multiple of four bytes
};

struct Ipv4Fields {
  uint16_t id = 0;
  uint16_t fragment_offset = 0;  // in bytes, a multiple of eight
  bool more_fragments = false;
  bool dont_fragment = false;
  uint8_t ttl = 64;
  Bytes options;  // a multiple of four bytes, at most 40
};

// The Internet checksum (RFC 1071) of some parts laid end to end; every part but the last has an even length.
uint16_t internet_checksum(std::span<const std::span<const uint8_t>> parts);

// Upper-layer packets. Lengths and checksums are right; IPv6 gets its pseudo-header where it needs one.
Frame tcp_segment(const Endpoint& from, const Endpoint& to, const TcpFields& fields, Bytes payload);
Frame udp_datagram(const Endpoint& from, const Endpoint& to, Bytes payload);
Frame icmp_echo(bool reply, uint16_t id, uint16_t sequence, Bytes payload);
Frame icmpv6_echo(const Endpoint& from, const Endpoint& to, bool reply, uint16_t id, uint16_t sequence,
                  Bytes payload);

// These put one more header around a frame.
void add_ipv4(Frame& frame, const Endpoint& from, const Endpoint& to, uint8_t protocol,
              const Ipv4Fields& fields);
void add_ipv6(Frame& frame, const Endpoint& from, const Endpoint& to, uint8_t next_header);
void add_hop_by_hop(Frame& frame, uint8_t next_header);
void add_ipv6_fragment(Frame& frame, uint8_t next_header, uint16_t offset, bool more, uint32_t id);
// `type` is the EtherType of what the tag precedes.
void add_vlan_tag(Frame& frame, uint16_t vlan, uint16_t type);
void add_ethernet(Frame& frame, const Endpoint& from, const Endpoint& to, uint16_t type);

Frame arp_request(const Endpoint& from, const Endpoint& to);

}  // namespace skep::samples
