// A sample whose timers are fired by a machine's clock, which the kernel's tests cannot move.
#include <gtest/gtest.h>

#include <string>

#include "skep/machine.hpp"

namespace skep::samples {
namespace {

class FlowExpiry : public testing::TestWithParam<Engine> {};

// An IPv4 UDP packet from one of the ports.
std::vector<std::byte> packet(uint8_t port) {
  std::vector<std::byte> bytes(64);
  bytes[12] = std::byte{0x08};
  bytes[14] = std::byte{0x45};
  bytes[17] = std::byte{50};
  bytes[23] = std::byte{17};
  bytes[35] = std::byte{port};
  return bytes;
}

TEST_P(FlowExpiry, IdleFlowsGo) {
  auto machine = Machine::create({.cpus = 2, .seed = 1, .engine = GetParam()});
  ASSERT_TRUE(machine);
  std::string faults;
  machine->set_timer_fault_sink([&](unsigned, const Fault& fault) { faults += fault.message; });
  const auto object = machine->open(std::string(SKEP_BPF_DIR) + "/flow_expiry.bpf.o");
  ASSERT_TRUE(object) << object.error().message;
  const auto loaded = object->load();
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto program = object->program("flow_expiry");
  const auto flows = object->map("live_flows");
  ASSERT_TRUE(program && flows);
  const auto run = [&](unsigned cpu, uint8_t port) {
    const auto bytes = packet(port);
    const auto result = program->run(cpu, {.data = bytes});
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->fault) << result->fault->message;
  };
  const auto count = [&] {
    unsigned flows_found = 0;
    auto key = flows->next_key(std::nullopt);
    for (; key; key = flows->next_key(*key)) ++flows_found;
    return flows_found;
  };
  run(0, 1);
  run(1, 2);
  EXPECT_EQ(count(), 2U);
  EXPECT_EQ(machine->advance_clock(600'000'000), 0U);
  run(0, 1);
  EXPECT_EQ(machine->advance_clock(600'000'000), 1U) << "the one of port 2";
  EXPECT_EQ(count(), 1U);
  EXPECT_EQ(machine->advance_clock(600'000'000), 1U);
  EXPECT_EQ(count(), 0U);
  EXPECT_EQ(faults, "");
}

INSTANTIATE_TEST_SUITE_P(Engines, FlowExpiry, testing::Values(Engine::kInterpreter, Engine::kJit));

}  // namespace
}  // namespace skep::samples
