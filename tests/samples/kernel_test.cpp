// The samples in the kernel: what they do there is written down in expected_kernel.json. Run with --record to
// write that file anew after a sample or the traffic has changed. Needs root (CAP_BPF, CAP_NET_ADMIN) and
// Linux 5.19.

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/samples/observe.hpp"

namespace skep::samples {
namespace {

using nlohmann::json;

constexpr const char* kSamples[] = {"flow_counter",  "packet_events", "packet_router",
                                    "port_firewall", "flow_ager",     "percpu_sum",
                                    "flow_sampler",  "tc_mark",       "sock_len"};

std::filesystem::path object_of(std::string_view sample) {
  return std::filesystem::path(SKEP_BPF_DIR) / fmt::format("{}.bpf.o", sample);
}

json expected() {
  std::ifstream file(SKEP_EXPECTED_KERNEL);
  return json::parse(file);
}

void be_quiet() {
  libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
}

class KernelTest : public ::testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() { be_quiet(); }
};

TEST_P(KernelTest, SampleDoesWhatIsWrittenDown) {
  const Result<std::vector<Packet>> packets = read_packets(SKEP_SAMPLE_TRAFFIC);
  ASSERT_TRUE(packets) << packets.error().message;
  const Result<json> seen = observe(object_of(GetParam()), *packets);
  if (!seen && (seen.error().code == EPERM || seen.error().code == ENOSYS)) {
    GTEST_SKIP() << "the kernel cannot be asked: " << seen.error().message;
  }
  ASSERT_TRUE(seen) << seen.error().message;
  const json difference = json::diff(expected()["samples"][GetParam()], *seen);
  EXPECT_TRUE(difference.empty()) << difference.dump(2);
}

INSTANTIATE_TEST_SUITE_P(Samples, KernelTest, ::testing::ValuesIn(kSamples),
                         [](const auto& info) { return std::string(info.param); });

TEST(ExpectedTest, IsAboutTheDefaultTraffic) {
  const Result<std::vector<Packet>> packets = read_packets(SKEP_SAMPLE_TRAFFIC);
  ASSERT_TRUE(packets) << packets.error().message;
  EXPECT_EQ(describe(*packets), expected()["traffic"]);
}

int record() {
  const Result<std::vector<Packet>> packets = read_packets(SKEP_SAMPLE_TRAFFIC);
  if (!packets) return fmt::print(stderr, "{}\n", packets.error().message), 1;
  json all = {{"traffic", describe(*packets)}, {"samples", json::object()}};
  for (const char* sample : kSamples) {
    Result<json> seen = observe(object_of(sample), *packets);
    if (!seen) return fmt::print(stderr, "{}\n", seen.error().message), 1;
    all["samples"][sample] = std::move(*seen);
  }
  std::ofstream(SKEP_EXPECTED_KERNEL) << all.dump(1) << '\n';
  return 0;
}

}  // namespace
}  // namespace skep::samples

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--record") return skep::samples::record();
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
