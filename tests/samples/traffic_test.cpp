#include <gtest/gtest.h>
#include <pcap/pcap.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <ostream>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "samples/traffic_mix.hpp"
#include "tools/packet_file.hpp"

namespace skep::samples {
namespace {

constexpr size_t kPackets = 1000;

std::vector<CapturedFrame> frames(uint64_t seed, size_t count, bool runts = false) {
  TrafficMix mix(seed, runts);
  std::vector<CapturedFrame> made;
  while (made.size() < count) made.push_back(mix.next());
  return made;
}

bool same(const std::vector<CapturedFrame>& a, const std::vector<CapturedFrame>& b) {
  return std::ranges::equal(a, b, {}, &CapturedFrame::bytes, &CapturedFrame::bytes);
}

bool is_whole(const CapturedFrame& frame) { return frame.bytes.size() == frame.original_length; }

TEST(TrafficMixTest, SameSeedSameFrames) { EXPECT_TRUE(same(frames(7, kPackets), frames(7, kPackets))); }

TEST(TrafficMixTest, AnotherSeedOtherFrames) { EXPECT_FALSE(same(frames(7, kPackets), frames(8, kPackets))); }

// libpcap's own filters say what a frame is.
size_t count_matching(const std::vector<CapturedFrame>& traffic, const char* expression) {
  const std::unique_ptr<pcap_t, decltype(&pcap_close)> format(pcap_open_dead(DLT_EN10MB, 65535), pcap_close);
  bpf_program filter{};
  if (pcap_compile(format.get(), &filter, expression, 1, PCAP_NETMASK_UNKNOWN) != 0) {
    ADD_FAILURE() << expression << ": " << pcap_geterr(format.get());
    return 0;
  }
  size_t count = 0;
  for (const CapturedFrame& frame : traffic) {
    pcap_pkthdr header{};
    header.caplen = static_cast<bpf_u_int32>(frame.bytes.size());
    header.len = static_cast<bpf_u_int32>(frame.original_length);
    if (pcap_offline_filter(&filter, &header, frame.bytes.data()) != 0) ++count;
  }
  pcap_freecode(&filter);
  return count;
}

struct Kind {
  const char* name;
  const char* filter;

  friend std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.filter; }
};

class KindTest : public ::testing::TestWithParam<Kind> {};

TEST_P(KindTest, Appears) { EXPECT_GE(count_matching(frames(1, kPackets), GetParam().filter), 5u); }

constexpr Kind kKinds[] = {
    {"Ipv4Tcp", "ip and tcp"},
    {"Ipv4Udp", "ip and udp"},
    {"EchoRequest", "icmp[icmptype] == icmp-echo"},
    {"EchoReply", "icmp[icmptype] == icmp-echoreply"},
    {"Ipv6Tcp", "ip6 and tcp"},
    {"Ipv6Udp", "ip6 and udp"},
    {"Icmpv6", "icmp6"},
    {"Arp", "arp"},
    {"Ipv4Options", "ip[0] > 0x45"},
    {"Ipv4FirstFragment", "ip[6:2] & 0x3fff == 0x2000"},
    {"Ipv4LaterFragment", "ip[6:2] & 0x1fff != 0"},
    {"Ipv6FirstFragment", "ip6[6] == 44 and ip6[42:2] & 0xfff9 == 1"},
    {"Ipv6LaterFragment", "ip6[6] == 44 and ip6[42:2] & 0xfff8 != 0"},
    {"Ipv6HopByHop", "ip6[6] == 0"},
    {"VlanIpv4", "ether[12:2] == 0x8100 and vlan and ip"},
    {"VlanIpv6", "ether[12:2] == 0x8100 and vlan and ip6"},
    {"QinQIpv4", "ether[12:2] == 0x88a8 and vlan and vlan and ip"},
    {"QinQIpv6", "ether[12:2] == 0x88a8 and vlan and vlan and ip6"},
};

INSTANTIATE_TEST_SUITE_P(TrafficMixTest, KindTest, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return std::string(info.param.name); });

uint16_t load16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

// The ones' complement sum of 16-bit words: all ones where a checksum is included and right.
uint16_t ones_sum(std::span<const uint8_t> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? bytes[i] * 256u : bytes[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// An IP packet that is neither tagged nor a fragment, taken apart.
struct Parsed {
  std::span<const uint8_t> header;
  std::span<const uint8_t> segment;
  std::span<const uint8_t> addresses;
  uint8_t protocol = 0;
};

Parsed parse_ipv4(std::span<const uint8_t> packet) {
  const size_t header = static_cast<size_t>(packet[0] & 0x0f) * 4;
  return {.header = packet.first(header),
          .segment = packet.subspan(header, load16(packet, 2) - header),
          .addresses = packet.subspan(12, 8),
          .protocol = packet[9]};
}

Parsed parse_ipv6(std::span<const uint8_t> packet) {
  const bool extended = packet[6] == 0;
  const size_t header = extended ? 48 : 40;
  return {.header = packet.first(header),
          .segment = packet.subspan(header, load16(packet, 4) + 40u - header),
          .addresses = packet.subspan(8, 32),
          .protocol = packet[extended ? 40 : 6]};
}

uint16_t segment_sum(const Parsed& parsed) {
  std::vector<uint8_t> all;
  if (parsed.protocol != 1) {  // ICMP has no pseudo-header
    all.assign(parsed.addresses.begin(), parsed.addresses.end());
    const size_t length = parsed.segment.size();
    all.insert(all.end(),
               {0, parsed.protocol, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length & 0xff)});
  }
  all.insert(all.end(), parsed.segment.begin(), parsed.segment.end());
  return ones_sum(all);
}

TEST(TrafficMixTest, LengthsAndChecksumsAreRight) {
  size_t checked = 0;
  for (const CapturedFrame& frame : frames(1, kPackets)) {
    if (!is_whole(frame)) continue;
    const uint16_t type = load16(frame.bytes, 12);
    const std::span<const uint8_t> packet = std::span(frame.bytes).subspan(14);
    const bool fragment = type == 0x0800 ? (load16(packet, 6) & 0x3fff) != 0 : packet[6] == 44;
    if ((type != 0x0800 && type != 0x86dd) || fragment) continue;
    const Parsed parsed = type == 0x0800 ? parse_ipv4(packet) : parse_ipv6(packet);
    if (type == 0x0800) {
      EXPECT_EQ(ones_sum(parsed.header), 0xffff);
    }
    if (parsed.protocol == 17) {
      EXPECT_EQ(load16(parsed.segment, 4), parsed.segment.size());
    }
    EXPECT_EQ(segment_sum(parsed), 0xffff) << "protocol " << int{parsed.protocol};
    ++checked;
  }
  EXPECT_GT(checked, kPackets / 2);
}

TEST(TrafficMixTest, WholeFramesHaveEthernetSizes) {
  for (const CapturedFrame& frame : frames(1, kPackets)) {
    if (!is_whole(frame)) continue;
    EXPECT_GE(frame.bytes.size(), 60u);
    EXPECT_LE(frame.bytes.size(), 1522u);
  }
}

// Where an untagged frame was cut: inside which header.
std::string cut_place(std::span<const uint8_t> bytes) {
  if (bytes.size() < 14) return "ethernet";
  const uint16_t type = load16(bytes, 12);
  if (type == 0x8100 || type == 0x88a8) return bytes.size() < 18 ? "outer tag" : "behind a tag";
  if (type == 0x0800)
    return bytes.size() < 34 ? "ipv4" : bytes[14] > 0x45 ? "ipv4 with options" : "behind ipv4";
  if (type == 0x86dd)
    return bytes.size() < 54 ? "ipv6" : bytes[20] == 0 ? "hop-by-hop or behind" : "behind ipv6";
  return "other";
}

std::set<std::string> cut_places(bool runts) {
  std::set<std::string> places;
  for (const CapturedFrame& frame : frames(3, 5 * kPackets, runts)) {
    if (!is_whole(frame)) places.insert(cut_place(frame.bytes));
  }
  return places;
}

TEST(TrafficMixTest, CutsInsideEveryHeader) {
  const std::set<std::string> expected = {"outer tag",   "behind a tag",        "ipv4",
                                          "behind ipv4", "ipv4 with options",   "ipv6",
                                          "behind ipv6", "hop-by-hop or behind"};
  EXPECT_EQ(cut_places(false), expected);
}

TEST(TrafficMixTest, RuntsAreCutInsideTheEthernetHeader) {
  EXPECT_TRUE(cut_places(true).contains("ethernet"));
}

class TrafficToolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "skep-traffic-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path file(const char* name) const { return directory_ / name; }

  static int run(const std::string& arguments) {
    const std::string command = std::string(SKEP_TRAFFIC_TOOL) + " " + arguments + " 2>/dev/null >/dev/null";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  static std::string content(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::filesystem::path directory_;
};

TEST_F(TrafficToolTest, WritesTheSameFileTwice) {
  ASSERT_EQ(run("--packets 200 --seed 5 " + file("a").string()), 0);
  ASSERT_EQ(run("--packets 200 --seed 5 " + file("b").string()), 0);
  ASSERT_EQ(run("--packets 200 --seed 6 " + file("c").string()), 0);
  EXPECT_EQ(content(file("a")), content(file("b")));
  EXPECT_NE(content(file("a")), content(file("c")));
}

TEST_F(TrafficToolTest, FileIsAnEthernetCapture) {
  ASSERT_EQ(run("--packets 200 " + file("a").string()), 0);
  char message[PCAP_ERRBUF_SIZE] = {};
  pcap_t* capture = pcap_open_offline(file("a").c_str(), message);
  ASSERT_NE(capture, nullptr) << message;
  EXPECT_EQ(pcap_datalink(capture), DLT_EN10MB);
  size_t packets = 0;
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  while (pcap_next_ex(capture, &header, &data) == 1) {
    EXPECT_EQ(header->ts.tv_sec, 1704067200);
    EXPECT_EQ(header->ts.tv_usec, static_cast<suseconds_t>(packets * 100));
    ++packets;
  }
  EXPECT_EQ(packets, 200u);
  pcap_close(capture);
}

TEST_F(TrafficToolTest, FailsWhereItCannotWrite) { EXPECT_EQ(run(file("missing/a").string()), 1); }

}  // namespace
}  // namespace skep::samples
