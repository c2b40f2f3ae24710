#include "samples/traffic_mix.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace skep::samples {
namespace {

constexpr uint64_t kConversations = 24;
constexpr auto kServerPorts = std::to_array<uint16_t>({22, 23, 53, 80, 123, 443, 445, 3389, 5432, 8080});

constexpr uint8_t kSyn = 0x02;
constexpr uint8_t kPushAck = 0x18;
constexpr uint8_t kFinAck = 0x11;

// An IP packet on its way into a frame.
struct Packet {
  Frame frame;
  uint16_t type = 0;
  Endpoint from;
  Endpoint to;
};

Endpoint endpoint(bool ipv6, uint8_t network, uint64_t host, uint64_t port) {
  const auto low = static_cast<uint8_t>(host);
  Endpoint made{.mac = {0x02, 0, 0, network, 0, low}, .address = {}, .port = static_cast<uint16_t>(port)};
  // Addresses set aside for documentation: RFC 5737 and RFC 3849.
  if (ipv6) {
    made.address = {0x20, 0x01, 0x0d, 0xb8, 0, network, 0, 0, 0, 0, 0, 0, 0, 0, 0, low};
  } else if (network == 1) {
    made.address = {192, 0, 2, low};
  } else {
    made.address = {198, 51, 100, low};
  }
  return made;
}

std::vector<Conversation> make_conversations(Random& random, bool ipv6) {
  std::vector<Conversation> made;
  for (uint64_t i = 0; i < kConversations; ++i) {
    // One draw to a statement: the order in which arguments are evaluated is the compiler's choice.
    const uint64_t client = random.between(1, 12);
    const uint64_t client_port = random.between(40000, 40999);
    const uint64_t server = random.between(1, 4);
    const uint64_t server_port = kServerPorts[random.below(kServerPorts.size())];
    made.push_back(
        {.client = endpoint(ipv6, 1, client, client_port), .server = endpoint(ipv6, 2, server, server_port)});
  }
  return made;
}

Packet begin(Source& source, bool ipv6) {
  const auto& conversations = ipv6 ? source.ipv6 : source.ipv4;
  const Conversation& chosen = conversations[source.random.below(conversations.size())];
  const bool reply = source.random.below(2) != 0;
  return {.frame = {},
          .type = ipv6 ? kTypeIpv6 : kTypeIpv4,
          .from = reply ? chosen.server : chosen.client,
          .to = reply ? chosen.client : chosen.server};
}

Bytes payload(Source& source) {
  // Mostly small, sometimes as much as fits.
  const bool large = source.random.below(6) == 0;
  const uint64_t size = large ? source.random.between(900, 1400) : source.random.between(0, 200);
  return source.random.bytes(size);
}

void wrap_ip(Source& source, Packet& packet, uint8_t protocol, Ipv4Fields fields = {}) {
  if (packet.type == kTypeIpv6) {
    add_ipv6(packet.frame, packet.from, packet.to, protocol);
    return;
  }
  fields.id = static_cast<uint16_t>(source.random.below(0x10000));
  fields.dont_fragment = true;
  add_ipv4(packet.frame, packet.from, packet.to, protocol, fields);
}

Frame make_tcp(Source& source, const Packet& packet) {
  TcpFields fields;
  fields.sequence = static_cast<uint32_t>(source.random.below(0x100000000));
  const uint64_t stage = source.random.below(8);
  if (stage == 0) {
    fields.flags = kSyn;
    fields.options = {2, 4, 0x05, 0xb4};  // maximum segment size 1460
    return tcp_segment(packet.from, packet.to, fields, {});
  }
  fields.flags = stage == 1 ? kFinAck : kPushAck;
  fields.acknowledgment = static_cast<uint32_t>(source.random.below(0x100000000));
  return tcp_segment(packet.from, packet.to, fields, stage == 1 ? Bytes{} : payload(source));
}

Frame make_echo(Source& source, const Packet& packet) {
  const bool reply = source.random.below(3) == 0;
  const auto id = static_cast<uint16_t>(source.random.below(0x10000));
  const auto sequence = static_cast<uint16_t>(source.random.between(1, 100));
  Bytes data = source.random.bytes(56);
  if (packet.type == kTypeIpv6) {
    return icmpv6_echo(packet.from, packet.to, reply, id, sequence, std::move(data));
  }
  return icmp_echo(reply, id, sequence, std::move(data));
}

Packet tcp_packet(Source& source, bool ipv6) {
  Packet packet = begin(source, ipv6);
  packet.frame = make_tcp(source, packet);
  wrap_ip(source, packet, kProtocolTcp);
  return packet;
}

Packet udp_packet(Source& source, bool ipv6) {
  Packet packet = begin(source, ipv6);
  packet.frame = udp_datagram(packet.from, packet.to, payload(source));
  wrap_ip(source, packet, kProtocolUdp);
  return packet;
}

Packet echo_packet(Source& source, bool ipv6) {
  Packet packet = begin(source, ipv6);
  packet.frame = make_echo(source, packet);
  wrap_ip(source, packet, ipv6 ? kProtocolIcmpv6 : kProtocolIcmp);
  return packet;
}

Packet ipv4_tcp(Source& source) { return tcp_packet(source, false); }
Packet ipv4_udp(Source& source) { return udp_packet(source, false); }
Packet ipv4_icmp(Source& source) { return echo_packet(source, false); }
Packet ipv6_tcp(Source& source) { return tcp_packet(source, true); }
Packet ipv6_udp(Source& source) { return udp_packet(source, true); }
Packet ipv6_icmp(Source& source) { return echo_packet(source, true); }

Packet ipv4_with_options(Source& source) {
  Packet packet = begin(source, false);
  packet.frame = udp_datagram(packet.from, packet.to, payload(source));
  // Router alert (RFC 2113), then as many no-operation words as chance has it.
  Ipv4Fields fields;
  fields.options = {0x94, 0x04, 0, 0};
  fields.options.resize(4 + source.random.below(10) * 4, 1);
  wrap_ip(source, packet, kProtocolUdp, fields);
  return packet;
}

Packet ipv6_with_extension(Source& source) {
  Packet packet = begin(source, true);
  packet.frame = udp_datagram(packet.from, packet.to, payload(source));
  add_hop_by_hop(packet.frame, kProtocolUdp);
  wrap_ip(source, packet, kProtocolHopByHop);
  return packet;
}

// Any of the above.
Packet plain_packet(Source& source) {
  constexpr auto kMakers = std::to_array<Packet (*)(Source&)>(
      {ipv4_tcp, ipv4_udp, ipv4_icmp, ipv6_tcp, ipv6_udp, ipv6_icmp, ipv4_with_options, ipv6_with_extension});
  return kMakers[source.random.below(kMakers.size())](source);
}

uint16_t vlan_id(Source& source) { return static_cast<uint16_t>(source.random.between(10, 13)); }

Frame untagged(Packet packet) {
  add_ethernet(packet.frame, packet.from, packet.to, packet.type);
  return std::move(packet.frame);
}

Frame tagged(Source& source, Packet packet) {
  add_vlan_tag(packet.frame, vlan_id(source), packet.type);
  add_ethernet(packet.frame, packet.from, packet.to, kTypeVlan);
  return std::move(packet.frame);
}

Frame double_tagged(Source& source, Packet packet) {
  add_vlan_tag(packet.frame, vlan_id(source), packet.type);
  add_vlan_tag(packet.frame, static_cast<uint16_t>(vlan_id(source) * 10), kTypeVlan);
  add_ethernet(packet.frame, packet.from, packet.to, kTypeServiceVlan);
  return std::move(packet.frame);
}

CapturedFrame whole(const Frame& frame) {
  CapturedFrame captured{.bytes = frame.wire(), .original_length = 0};
  captured.original_length = captured.bytes.size();
  return captured;
}

using Frames = std::vector<CapturedFrame>;

template <Packet (*kMake)(Source&)>
Frames one(Source& source) {
  return {whole(untagged(kMake(source)))};
}

Frames with_vlan(Source& source) { return {whole(tagged(source, plain_packet(source)))}; }
Frames with_two_vlans(Source& source) { return {whole(double_tagged(source, plain_packet(source)))}; }

Frames arp(Source& source) {
  const Packet packet = begin(source, false);
  return {whole(arp_request(packet.from, packet.to))};
}

// A datagram that is too large for one packet, cut into pieces; each is passed on with its offset.
template <class Wrap>
Frames fragments(Source& source, bool ipv6, const Wrap& wrap) {
  constexpr size_t kPiece = 1024;
  const Packet packet = begin(source, ipv6);
  const Frame datagram =
      udp_datagram(packet.from, packet.to, source.random.bytes(source.random.between(1500, 3000)));
  const Bytes whole_datagram = datagram.cut(datagram.size());
  Frames frames;
  for (size_t offset = 0; offset < whole_datagram.size(); offset += kPiece) {
    const std::span<const uint8_t> piece = std::span(whole_datagram).subspan(offset);
    const size_t size = std::min(kPiece, piece.size());
    Packet part = packet;
    part.frame.payload.assign(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(size));
    wrap(part, static_cast<uint16_t>(offset), size < piece.size());
    frames.push_back(whole(untagged(std::move(part))));
  }
  return frames;
}

Frames ipv4_fragments(Source& source) {
  const auto id = static_cast<uint16_t>(source.random.below(0x10000));
  return fragments(source, false, [&](Packet& part, uint16_t offset, bool more) {
    const Ipv4Fields fields{.id = id, .fragment_offset = offset, .more_fragments = more, .options = {}};
    add_ipv4(part.frame, part.from, part.to, kProtocolUdp, fields);
  });
}

Frames ipv6_fragments(Source& source) {
  const auto id = static_cast<uint32_t>(source.random.below(0x100000000));
  return fragments(source, true, [&](Packet& part, uint16_t offset, bool more) {
    add_ipv6_fragment(part.frame, kProtocolUdp, offset, more, id);
    add_ipv6(part.frame, part.from, part.to, kProtocolFragment);
  });
}

Frame any_frame(Source& source) {
  Packet packet = plain_packet(source);
  switch (source.random.below(4)) {
    case 0:
      return tagged(source, std::move(packet));
    case 1:
      return double_tagged(source, std::move(packet));
    default:
      return untagged(std::move(packet));
  }
}

// Cuts a frame inside one of its headers, `first` being the outermost that may be cut.
Frames cut_short(Source& source, size_t first) {
  const Frame frame = any_frame(source);
  const size_t chosen = source.random.between(first, frame.headers.size() - 1);
  size_t size = source.random.between(1, frame.headers[chosen].size() - 1);
  for (size_t i = 0; i < chosen; ++i) size += frame.headers[i].size();
  return {{.bytes = frame.cut(size), .original_length = frame.wire().size()}};
}

Frames truncated(Source& source) { return cut_short(source, 1); }
Frames runt(Source& source) { return cut_short(source, 0); }

// One row per kind of traffic: out of the sum of all weights, how often it is chosen.
struct Recipe {
  uint64_t weight;
  Frames (*make)(Source&);
};

constexpr auto kRecipes = std::to_array<Recipe>({
    {20, one<ipv4_tcp>},
    {14, one<ipv4_udp>},
    {6, one<ipv4_icmp>},
    {10, one<ipv6_tcp>},
    {8, one<ipv6_udp>},
    {4, one<ipv6_icmp>},
    {5, one<ipv4_with_options>},
    {4, one<ipv6_with_extension>},
    {8, with_vlan},
    {5, with_two_vlans},
    {3, ipv4_fragments},
    {2, ipv6_fragments},
    {8, truncated},
    {3, arp},
});

Frames make_frames(Source& source) {
  uint64_t total = 0;
  for (const Recipe& recipe : kRecipes) total += recipe.weight;
  uint64_t left = source.random.below(total);
  for (const Recipe& recipe : kRecipes) {
    if (left < recipe.weight) return recipe.make(source);
    left -= recipe.weight;
  }
  return {};
}

Source make_source(uint64_t seed) {
  Source source{.random = Random(seed), .ipv4 = {}, .ipv6 = {}};
  source.ipv4 = make_conversations(source.random, false);
  source.ipv6 = make_conversations(source.random, true);
  return source;
}

}  // namespace

Bytes Random::bytes(uint64_t count) {
  Bytes made(count);
  for (uint8_t& byte : made) byte = static_cast<uint8_t>(engine_() >> 56);
  return made;
}

TrafficMix::TrafficMix(uint64_t seed, bool runts) : source_(make_source(seed)), runts_(runts) {}

CapturedFrame TrafficMix::next() {
  if (pending_.empty()) refill();
  CapturedFrame frame = std::move(pending_.back());
  pending_.pop_back();
  return frame;
}

void TrafficMix::refill() {
  constexpr uint64_t kOneInSoMany = 16;
  const bool runt_now = runts_ && source_.random.below(kOneInSoMany) == 0;
  pending_ = runt_now ? runt(source_) : make_frames(source_);
  std::ranges::reverse(pending_);
}

}  // namespace skep::samples
