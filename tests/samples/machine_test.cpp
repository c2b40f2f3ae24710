// The samples on skep, through the same libbpf code that asks the kernel, held against what the kernel did.
#include <gtest/gtest.h>

#include <fstream>

#include "loader/libbpf_binding.hpp"
#include "skep/machine.hpp"
#include "tests/samples/observe.hpp"

namespace skep::samples {
namespace {

using nlohmann::json;

constexpr const char* kSamples[] = {"flow_counter",  "packet_events", "packet_router",
                                    "port_firewall", "flow_ager",     "percpu_sum",
                                    "flow_sampler",  "tc_mark",       "sock_len"};

class MachineTest : public testing::TestWithParam<std::tuple<const char*, Engine, Mode>> {};

TEST_P(MachineTest, SampleDoesWhatItDoesInTheKernel) {
  const auto [sample, engine, mode] = GetParam();
  const auto packets = read_packets(SKEP_SAMPLE_TRAFFIC);
  ASSERT_TRUE(packets) << packets.error().message;
  // As many CPUs as the samples sum over at the least; which of them a test run takes is the host's choice.
  const auto machine = Machine::create({.cpus = 4, .engine = engine, .mode = mode});
  ASSERT_TRUE(machine);
  const loader::LibbpfBinding binding(machine->internal());
  const auto seen = observe(std::string(SKEP_BPF_DIR) + "/" + sample + ".bpf.o", *packets);
  ASSERT_TRUE(seen) << seen.error().message << "\n" << binding.messages();
  std::ifstream file(SKEP_EXPECTED_KERNEL);
  const json difference = json::diff(json::parse(file)["samples"][sample], *seen);
  EXPECT_TRUE(difference.empty()) << difference.dump(2);
}

INSTANTIATE_TEST_SUITE_P(Samples, MachineTest,
                         testing::Combine(testing::ValuesIn(kSamples),
                                          testing::Values(Engine::kInterpreter, Engine::kJit),
                                          testing::Values(Mode::kChecked, Mode::kVerified)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) == Engine::kJit ? "_jit" : "_interp") +
                                  (std::get<2>(info.param) == Mode::kChecked ? "_checked" : "_verified");
                         });

}  // namespace
}  // namespace skep::samples
