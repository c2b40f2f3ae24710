#include "samples/frame.hpp"

#include <algorithm>
#include <utility>

namespace skep::samples {
namespace {

constexpr size_t kMinFrame = 60;

void put8(Bytes& bytes, size_t value) { bytes.push_back(static_cast<uint8_t>(value)); }

void put16(Bytes& bytes, size_t value) {
  put8(bytes, value >> 8 & 0xff);
  put8(bytes, value & 0xff);
}

void put32(Bytes& bytes, size_t value) {
  put16(bytes, value >> 16 & 0xffff);
  put16(bytes, value & 0xffff);
}

void put(Bytes& bytes, std::span<const uint8_t> more) { bytes.insert(bytes.end(), more.begin(), more.end()); }

void set16(Bytes& bytes, size_t offset, uint16_t value) {
  bytes[offset] = static_cast<uint8_t>(value >> 8);
  bytes[offset + 1] = static_cast<uint8_t>(value & 0xff);
}

// What TCP, UDP and ICMPv6 add to their checksum of the IP header (RFC 9293, RFC 768, RFC 8200).
Bytes pseudo_header(const Endpoint& from, const Endpoint& to, uint8_t protocol, size_t length) {
  Bytes bytes;
  put(bytes, from.address);
  put(bytes, to.address);
  if (from.is_ipv6()) {
    put32(bytes, length);
    put32(bytes, protocol);
  } else {
    put16(bytes, protocol);
    put16(bytes, length);
  }
  return bytes;
}

uint16_t upper_checksum(const Endpoint& from, const Endpoint& to, uint8_t protocol, const Bytes& header,
                        const Bytes& payload) {
  const Bytes pseudo = pseudo_header(from, to, protocol, header.size() + payload.size());
  const std::array<std::span<const uint8_t>, 3> parts = {pseudo, header, payload};
  return internet_checksum(parts);
}

Bytes echo_header(uint8_t type, uint16_t id, uint16_t sequence) {
  Bytes header;
  put8(header, type);
  put8(header, 0);   // code
  put16(header, 0);  // checksum
  put16(header, id);
  put16(header, sequence);
  return header;
}

}  // namespace

size_t Frame::size() const {
  size_t total = payload.size();
  for (const Bytes& header : headers) total += header.size();
  return total;
}

Bytes Frame::wire() const {
  Bytes bytes = cut(size());
  if (bytes.size() < kMinFrame) bytes.resize(kMinFrame);
  return bytes;
}

Bytes Frame::cut(size_t size) const {
  Bytes bytes;
  for (const Bytes& header : headers) put(bytes, header);
  put(bytes, payload);
  bytes.resize(std::min(size, bytes.size()));
  return bytes;
}

uint16_t internet_checksum(std::span<const std::span<const uint8_t>> parts) {
  uint32_t sum = 0;
  for (const std::span<const uint8_t> part : parts) {
    for (size_t i = 0; i < part.size(); ++i) {
      sum += i % 2 == 0 ? static_cast<uint32_t>(part[i]) << 8 : part[i];
    }
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

Frame tcp_segment(const Endpoint& from, const Endpoint& to, const TcpFields& fields, Bytes payload) {
  Bytes header;
  put16(header, from.port);
  put16(header, to.port);
  put32(header, fields.sequence);
  put32(header, fields.acknowledgment);
  put8(header, (20 + fields.options.size()) / 4 << 4);
  put8(header, fields.flags);
  put16(header, 64240);  // window
  put16(header, 0);      // checksum
  put16(header, 0);      // urgent pointer
  put(header, fields.options);
  set16(header, 16, upper_checksum(from, to, kProtocolTcp, header, payload));
  return {.headers = {std::move(header)}, .payload = std::move(payload)};
}

Frame udp_datagram(const Endpoint& from, const Endpoint& to, Bytes payload) {
  Bytes header;
  put16(header, from.port);
  put16(header, to.port);
  put16(header, 8 + payload.size());
  put16(header, 0);  // checksum
  const uint16_t checksum = upper_checksum(from, to, kProtocolUdp, header, payload);
  // Zero stands for "no checksum", so a checksum of zero is sent as its other representation.
  set16(header, 6, checksum == 0 ? 0xffff : checksum);
  return {.headers = {std::move(header)}, .payload = std::move(payload)};
}

Frame icmp_echo(bool reply, uint16_t id, uint16_t sequence, Bytes payload) {
  Bytes header = echo_header(reply ? 0 : 8, id, sequence);
  const std::array<std::span<const uint8_t>, 2> parts = {header, payload};
  set16(header, 2, internet_checksum(parts));
  return {.headers = {std::move(header)}, .payload = std::move(payload)};
}

Frame icmpv6_echo(const Endpoint& from, const Endpoint& to, bool reply, uint16_t id, uint16_t sequence,
                  Bytes payload) {
  Bytes header = echo_header(reply ? 129 : 128, id, sequence);
  set16(header, 2, upper_checksum(from, to, kProtocolIcmpv6, header, payload));
  return {.headers = {std::move(header)}, .payload = std::move(payload)};
}

void add_ipv4(Frame& frame, const Endpoint& from, const Endpoint& to, uint8_t protocol,
              const Ipv4Fields& fields) {
  const size_t header_length = 20 + fields.options.size();
  Bytes header;
  put8(header, 0x40 | header_length / 4);
  put8(header, 0);  // type of service
  put16(header, header_length + frame.size());
  put16(header, fields.id);
  put16(header, (fields.dont_fragment ? 0x4000u : 0u) | (fields.more_fragments ? 0x2000u : 0u) |
                    fields.fragment_offset / 8u);
  put8(header, fields.ttl);
  put8(header, protocol);
  put16(header, 0);  // checksum
  put(header, from.address);
  put(header, to.address);
  put(header, fields.options);
  const std::array<std::span<const uint8_t>, 1> parts = {header};
  set16(header, 10, internet_checksum(parts));
  frame.push_outer(std::move(header));
}

void add_ipv6(Frame& frame, const Endpoint& from, const Endpoint& to, uint8_t next_header) {
  Bytes header;
  put32(header, 0x60000000);
  put16(header, frame.size());
  put8(header, next_header);
  put8(header, 64);  // hop limit
  put(header, from.address);
  put(header, to.address);
  frame.push_outer(std::move(header));
}

void add_hop_by_hop(Frame& frame, uint8_t next_header) {
  // One PadN option fills the eight bytes.
  frame.push_outer({next_header, 0, 1, 4, 0, 0, 0, 0});
}

void add_ipv6_fragment(Frame& frame, uint8_t next_header, uint16_t offset, bool more, uint32_t id) {
  Bytes header;
  put8(header, next_header);
  put8(header, 0);
  // The offset counts units of eight bytes, in the upper thirteen bits.
  put16(header, offset | (more ? 1u : 0u));
  put32(header, id);
  frame.push_outer(std::move(header));
}

void add_vlan_tag(Frame& frame, uint16_t vlan, uint16_t type) {
  Bytes tag;
  put16(tag, vlan);
  put16(tag, type);
  frame.push_outer(std::move(tag));
}

void add_ethernet(Frame& frame, const Endpoint& from, const Endpoint& to, uint16_t type) {
  Bytes header;
  put(header, to.mac);
  put(header, from.mac);
  put16(header, type);
  frame.push_outer(std::move(header));
}

Frame arp_request(const Endpoint& from, const Endpoint& to) {
  constexpr MacAddress kUnknown{};
  constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  Bytes request;
  put16(request, 1);  // Ethernet
  put16(request, kTypeIpv4);
  put8(request, 6);
  put8(request, 4);
  put16(request, 1);  // request
  put(request, from.mac);
  put(request, from.address);
  put(request, kUnknown);
  put(request, to.address);
  Frame frame{.headers = {std::move(request)}, .payload = {}};
  add_ethernet(frame, from, {.mac = kBroadcast, .address = {}}, kTypeArp);
  return frame;
}

}  // namespace skep::samples
