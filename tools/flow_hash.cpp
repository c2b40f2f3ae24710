#include "tools/flow_hash.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

namespace skep::tools {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr size_t kMacAddresses = 12;
constexpr size_t kMaxVlanTags = 2;
constexpr size_t kMaxExtensionHeaders = 8;

constexpr uint16_t kTypeIpv4 = 0x0800;
constexpr uint16_t kTypeIpv6 = 0x86dd;
constexpr uint16_t kTypeVlan = 0x8100;
constexpr uint16_t kTypeServiceVlan = 0x88a8;

constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;

constexpr uint8_t kHopByHop = 0;
constexpr uint8_t kRouting = 43;
constexpr uint8_t kFragment = 44;
constexpr uint8_t kDestinationOptions = 60;

uint16_t load16(Bytes bytes, size_t offset) {
  return static_cast<uint16_t>(bytes[offset] << 8 | bytes[offset + 1]);
}

Bytes skip(Bytes bytes, size_t count) { return bytes.subspan(std::min(count, bytes.size())); }

// What an IP packet is hashed by: its addresses, side by side as in the header, and its ports if they count.
struct Tuple {
  Bytes addresses;
  Bytes ports;
};

Bytes ports_of(uint8_t protocol, Bytes segment) {
  const bool has_ports = (protocol == kTcp || protocol == kUdp) && segment.size() >= 4;
  return has_ports ? segment.first(4) : Bytes{};
}

std::optional<Tuple> ipv4_tuple(Bytes packet) {
  if (packet.size() < 20) return std::nullopt;
  const size_t header_length = static_cast<size_t>(packet[0] & 0x0f) * 4;
  // The fragment offset and the "more fragments" flag.
  const bool fragment = (load16(packet, 6) & 0x3fff) != 0;
  Tuple tuple{.addresses = packet.subspan(12, 8), .ports = {}};
  if (!fragment && header_length >= 20) tuple.ports = ports_of(packet[9], skip(packet, header_length));
  return tuple;
}

std::optional<Tuple> ipv6_tuple(Bytes packet) {
  if (packet.size() < 40) return std::nullopt;
  Tuple tuple{.addresses = packet.subspan(8, 32), .ports = {}};
  uint8_t protocol = packet[6];
  Bytes rest = packet.subspan(40);
  for (size_t i = 0; i < kMaxExtensionHeaders; ++i) {
    if (protocol == kFragment) return tuple;
    const bool extension = protocol == kHopByHop || protocol == kRouting || protocol == kDestinationOptions;
    if (!extension || rest.size() < 8) break;
    protocol = rest[0];
    rest = skip(rest, static_cast<size_t>(rest[1]) * 8 + 8);
  }
  tuple.ports = ports_of(protocol, rest);
  return tuple;
}

std::optional<Tuple> ip_tuple(Bytes frame) {
  if (frame.size() < kMacAddresses + 2) return std::nullopt;
  uint16_t type = load16(frame, kMacAddresses);
  Bytes rest = frame.subspan(kMacAddresses + 2);
  for (size_t i = 0; i < kMaxVlanTags && (type == kTypeVlan || type == kTypeServiceVlan); ++i) {
    if (rest.size() < 4) return std::nullopt;
    type = load16(rest, 2);
    rest = rest.subspan(4);
  }
  if (type == kTypeIpv4) return ipv4_tuple(rest);
  if (type == kTypeIpv6) return ipv6_tuple(rest);
  return std::nullopt;
}

}  // namespace

uint32_t toeplitz_hash(std::span<const uint8_t> input) {
  // The first 32 bits of the key; it moves one bit to the left with each bit of the input.
  uint32_t window = 0;
  for (size_t i = 0; i < 4; ++i) window = window << 8 | kRssKey[i];

  uint32_t hash = 0;
  const size_t count = std::min(input.size(), kRssKey.size() - 4);
  for (size_t i = 0; i < count; ++i) {
    for (int bit = 7; bit >= 0; --bit) {
      if ((input[i] >> bit & 1) != 0) hash ^= window;
      window = window << 1 | (static_cast<uint32_t>(kRssKey[i + 4]) >> bit & 1);
    }
  }
  return hash;
}

uint32_t flow_hash(std::span<const uint8_t> frame) {
  const std::optional<Tuple> tuple = ip_tuple(frame);
  if (!tuple) return toeplitz_hash(frame.first(std::min(frame.size(), kMacAddresses)));
  std::array<uint8_t, 36> input{};
  const auto ports_at = std::ranges::copy(tuple->addresses, input.begin()).out;
  const auto end = std::ranges::copy(tuple->ports, ports_at).out;
  return toeplitz_hash({input.begin(), end});
}

}  // namespace skep::tools
