#include "bench/suite.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "samples/frame.hpp"

extern "C" {
#define SUITE_ROW(name, kind) uint64_t name(void* memory, uint64_t length);
#include "bench/suite/programs.def"
#undef SUITE_ROW
}

namespace skep::bench {
namespace {

constexpr size_t kLength = 2048;    // SUITE_LENGTH of suite/suite.h
constexpr size_t kFrameSlot = 128;  // packet_parser.c's
constexpr uint64_t kLongest = 60;   // of the strings
constexpr uint64_t kSeed = 0x5eed;

constexpr std::string_view kText =
    "// Walks the list and counts what it sees.\n"
    "unsigned walk(struct node* first, int depth) {\n"
    "  unsigned found = 0x10 + 42;  // a start that is not zero\n"
    "  for (struct node* at = first; at != NULL; at = at->next) {\n"
    "    if (at->name[0] == '\\n' || depth / 2 > 7) continue;\n"
    "    print(\"node \\\"%s\\\" at depth %d\\n\", at->name, depth);\n"
    "    found += at->weight * 3.25 / (depth + 1);\n"
    "  }\n"
    "  return found;\n"
    "}\n\n";

std::vector<uint8_t> random_bytes() {
  std::mt19937_64 random(kSeed);
  std::vector<uint8_t> out(kLength);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
  return out;
}

std::vector<uint8_t> text() {
  std::vector<uint8_t> out;
  while (out.size() < kLength) out.insert(out.end(), kText.begin(), kText.end());
  out.resize(kLength);
  return out;
}

std::vector<uint8_t> strings() {
  std::mt19937_64 random(kSeed);
  std::vector<uint8_t> out(kLength, 'x');
  for (size_t at = random() % kLongest; at < out.size(); at += 1 + random() % kLongest) out[at] = 0;
  return out;
}

samples::Frame make_frame(unsigned number) {
  const bool ipv6 = number % 3 == 2;
  const bool tcp = number % 2 == 0;
  const size_t address = ipv6 ? 16 : 4;
  const auto octet = static_cast<uint8_t>(number + 1);
  const samples::Endpoint from{
      {2, 0, 0, 0, 0, octet}, samples::Bytes(address, octet), static_cast<uint16_t>(1000 + number)};
  const samples::Endpoint to{{2, 0, 0, 0, 1, octet}, samples::Bytes(address, 0x7f), 443};
  samples::Frame frame =
      tcp ? samples::tcp_segment(from, to, {}, {}) : samples::udp_datagram(from, to, {1, 2, 3});
  const uint8_t protocol = tcp ? samples::kProtocolTcp : samples::kProtocolUdp;
  uint16_t type = ipv6 ? samples::kTypeIpv6 : samples::kTypeIpv4;
  if (ipv6)
    samples::add_ipv6(frame, from, to, protocol);
  else
    samples::add_ipv4(frame, from, to, protocol, {.options = samples::Bytes(size_t{number} % 4 * 4, 1)});
  for (unsigned tag = 0; tag < number % 5 / 2; ++tag) {
    samples::add_vlan_tag(frame, static_cast<uint16_t>(100 + number), type);
    type = samples::kTypeVlan;
  }
  samples::add_ethernet(frame, from, to, type);
  return frame;
}

std::vector<uint8_t> frames() {
  std::vector<uint8_t> out(kLength);
  for (unsigned number = 0; number < kLength / kFrameSlot; ++number) {
    const samples::Bytes wire = make_frame(number).wire();
    std::ranges::copy(wire, out.begin() + static_cast<ptrdiff_t>(number * kFrameSlot));
  }
  return out;
}

std::vector<uint8_t> bytes_of(Memory kind) {
  switch (kind) {
    case Memory::kRandom:
      return random_bytes();
    case Memory::kText:
      return text();
    case Memory::kStrings:
      return strings();
    case Memory::kFrames:
      return frames();
  }
  return {};
}

}  // namespace

std::span<const SuiteProgram> suite() {
  static const std::vector<SuiteProgram> programs = {
#define SUITE_ROW(name, kind) {#name, Memory::kind, ::name},
#include "bench/suite/programs.def"
#undef SUITE_ROW
  };
  return programs;
}

std::vector<std::byte> make_memory(Memory kind) {
  const std::vector<uint8_t> bytes = bytes_of(kind);
  std::vector<std::byte> out(bytes.size());
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::string object_path(const SuiteProgram& program, std::string_view cpu) {
  return fmt::format("{}/suite/{}.{}.o", SKEP_BPF_DIR, program.name, cpu);
}

}  // namespace skep::bench
