#include "tools/flow_hash.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace skep::tools {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes be16(unsigned value) { return {static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value & 0xff)}; }

Bytes address(const std::string& text) {
  const bool ipv6 = text.find(':') != std::string::npos;
  Bytes bytes(ipv6 ? 16 : 4);
  EXPECT_EQ(inet_pton(ipv6 ? AF_INET6 : AF_INET, text.c_str(), bytes.data()), 1);
  return bytes;
}

// A row of Microsoft's "Verifying the RSS Hash Calculation".
struct Vector {
  const char* destination;
  const char* source;
  unsigned destination_port;
  unsigned source_port;
  uint32_t addresses_only;
  uint32_t with_ports;

  friend std::ostream& operator<<(std::ostream& out, const Vector& vector) {
    return out << vector.source << " to " << vector.destination;
  }

  bool is_ipv6() const { return std::string(source).find(':') != std::string::npos; }
};

constexpr Vector kVectors[] = {
    {"161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea},
    {"12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f},
    {"202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2},
    {"3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5, 0x40207d3d},
    {"ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c, 0xdde51bbf},
    {"fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251, 0x4b61e985, 0x02d1feef},
};

constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
constexpr uint8_t kIcmp = 1;

const Bytes macs = {0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2};

Bytes segment(const Vector& vector) {
  return be16(vector.source_port) + be16(vector.destination_port) + Bytes(16);
}

Bytes ipv4(const Vector& vector, uint8_t protocol, unsigned fragment = 0, const Bytes& options = {}) {
  const auto first = static_cast<uint8_t>(0x45 + options.size() / 4);
  const Bytes fixed = Bytes{first, 0} + be16(40) + be16(0) + be16(fragment) + Bytes{64, protocol} + be16(0);
  return fixed + address(vector.source) + address(vector.destination) + options;
}

Bytes ipv6(const Vector& vector, uint8_t next_header) {
  const Bytes fixed = Bytes{0x60, 0, 0, 0} + be16(20) + Bytes{next_header, 64};
  return fixed + address(vector.source) + address(vector.destination);
}

Bytes ip(const Vector& vector, uint8_t protocol) {
  return vector.is_ipv6() ? ipv6(vector, protocol) : ipv4(vector, protocol);
}

Bytes type_of(const Vector& vector) { return be16(vector.is_ipv6() ? 0x86dd : 0x0800); }

Bytes frame(const Vector& vector, uint8_t protocol) {
  return macs + type_of(vector) + ip(vector, protocol) + segment(vector);
}

class FlowHashTest : public ::testing::TestWithParam<Vector> {};

TEST_P(FlowHashTest, ToeplitzOfAddresses) {
  EXPECT_EQ(toeplitz_hash(address(GetParam().source) + address(GetParam().destination)),
            GetParam().addresses_only);
}

TEST_P(FlowHashTest, TcpAndUdpTakePorts) {
  EXPECT_EQ(flow_hash(frame(GetParam(), kTcp)), GetParam().with_ports);
  EXPECT_EQ(flow_hash(frame(GetParam(), kUdp)), GetParam().with_ports);
}

TEST_P(FlowHashTest, OtherProtocolsTakeAddresses) {
  EXPECT_EQ(flow_hash(frame(GetParam(), kIcmp)), GetParam().addresses_only);
}

TEST_P(FlowHashTest, VlanTagsAreSteppedOver) {
  const Bytes packet = type_of(GetParam()) + ip(GetParam(), kTcp) + segment(GetParam());
  const Bytes one = macs + be16(0x8100) + be16(10) + packet;
  const Bytes two = macs + be16(0x88a8) + be16(100) + be16(0x8100) + be16(10) + packet;
  EXPECT_EQ(flow_hash(one), GetParam().with_ports);
  EXPECT_EQ(flow_hash(two), GetParam().with_ports);
}

TEST_P(FlowHashTest, TooShortForPortsTakesAddresses) {
  Bytes bytes = frame(GetParam(), kUdp);
  bytes.resize(bytes.size() - 17);  // three bytes of the segment are left
  EXPECT_EQ(flow_hash(bytes), GetParam().addresses_only);
}

INSTANTIATE_TEST_SUITE_P(Microsoft, FlowHashTest, ::testing::ValuesIn(kVectors),
                         [](const auto& info) { return std::to_string(info.index); });

constexpr const Vector& kIpv4 = kVectors[0];
constexpr const Vector& kIpv6 = kVectors[5];

TEST(FlowHashTest, Ipv4FragmentsTakeAddresses) {
  for (const unsigned fragment : {0x2000u, 0x2010u, 0x0010u}) {
    const Bytes bytes = macs + be16(0x0800) + ipv4(kIpv4, kUdp, fragment) + segment(kIpv4);
    EXPECT_EQ(flow_hash(bytes), kIpv4.addresses_only) << fragment;
  }
  const Bytes not_a_fragment = macs + be16(0x0800) + ipv4(kIpv4, kUdp, 0x4000) + segment(kIpv4);
  EXPECT_EQ(flow_hash(not_a_fragment), kIpv4.with_ports);
}

TEST(FlowHashTest, Ipv4OptionsAreSteppedOver) {
  const Bytes options(40, 1);
  EXPECT_EQ(flow_hash(macs + be16(0x0800) + ipv4(kIpv4, kTcp, 0, options) + segment(kIpv4)),
            kIpv4.with_ports);
}

TEST(FlowHashTest, Ipv6ExtensionsAreSteppedOver) {
  const Bytes hop_by_hop = {60, 0, 1, 4, 0, 0, 0, 0};
  const Bytes destination_options = Bytes{kUdp, 1} + Bytes(14);
  EXPECT_EQ(
      flow_hash(macs + be16(0x86dd) + ipv6(kIpv6, 0) + hop_by_hop + destination_options + segment(kIpv6)),
      kIpv6.with_ports);
}

TEST(FlowHashTest, Ipv6FragmentsTakeAddresses) {
  const Bytes first = {kUdp, 0, 0, 1, 0, 0, 0, 9};
  const Bytes later = {kUdp, 0, 0x04, 0, 0, 0, 0, 9};
  for (const Bytes& fragment : {first, later}) {
    EXPECT_EQ(flow_hash(macs + be16(0x86dd) + ipv6(kIpv6, 44) + fragment + segment(kIpv6)),
              kIpv6.addresses_only);
  }
}

TEST(FlowHashTest, WhatIsNotIpTakesMacAddresses) {
  const uint32_t expected = toeplitz_hash(macs);
  EXPECT_EQ(flow_hash(macs + be16(0x0806) + Bytes(46)), expected);
  EXPECT_EQ(flow_hash(macs + be16(0x0800) + Bytes(19, 0x45)), expected);
  EXPECT_EQ(flow_hash(macs + be16(0x86dd) + Bytes(39, 0x60)), expected);
  EXPECT_EQ(flow_hash(macs + be16(0x8100) + Bytes(3)), expected);
  Bytes other = macs;
  other[11] = 3;
  EXPECT_NE(flow_hash(other + be16(0x0806) + Bytes(46)), expected);
}

TEST(FlowHashTest, AnyLengthIsTaken) {
  const Bytes whole = frame(kIpv6, kTcp);
  for (size_t size = 0; size <= whole.size(); ++size) {
    flow_hash(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
  }
  EXPECT_EQ(flow_hash({}), 0u);
}

TEST(FlowHashTest, ToeplitzOfOneBitIsAWindowOfTheKey) {
  EXPECT_EQ(toeplitz_hash(std::array<uint8_t, 1>{0x80}), 0x6d5a56dau);
  EXPECT_EQ(toeplitz_hash(std::array<uint8_t, 2>{0, 0x80}), 0x5a56da25u);
  // The last byte that has a key of its own.
  Bytes last(36);
  last[35] = 0x80;
  EXPECT_EQ(toeplitz_hash(last), 0x3bbeac01u);
  last[35] = 0x01;
  EXPECT_EQ(toeplitz_hash(last), 0xdf5600fdu);
}

TEST(FlowHashTest, PortsSpreadFlows) {
  std::set<uint32_t> queues;
  for (unsigned port = 40000; port < 40064; ++port) {
    Vector vector = kIpv4;
    vector.source_port = port;
    queues.insert(flow_hash(frame(vector, kTcp)) % 4);
  }
  EXPECT_EQ(queues.size(), 4u);
}

}  // namespace
}  // namespace skep::tools
