// Redirects through the public API, with the sample router.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <span>
#include <thread>
#include <vector>

#include "skep/machine.hpp"

namespace skep {
namespace {

constexpr unsigned kPingCpu = 1;
constexpr uint32_t kNetwork = 0xc00002;  // 192.0.2.0/24

// An IPv4 packet of a protocol to 192.0.2.1.
std::vector<std::byte> packet_of(uint8_t protocol) {
  const std::array<uint8_t, 54> bytes{2,   0,  0,   0,  0,   1, 2, 0, 0,  0,        0, 2, 8, 0,  // Ethernet
                                      69,  0,  0,   40, 0,   0, 0, 0, 64, protocol, 0, 0,        // IPv4
                                      198, 51, 100, 7,  192, 0, 2, 1, 0,  80,       0, 80};      // ports
  const auto view = std::as_bytes(std::span(bytes));
  return {view.begin(), view.end()};
}

std::vector<std::byte> words(std::initializer_list<uint32_t> values) {
  const auto view = std::as_bytes(std::span(values.begin(), values.size()));
  return {view.begin(), view.end()};
}

class ForwardingTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(machine_.has_value());
    const auto added =
        machine_->add_device({.ifindex = 2,
                              .name = "out",
                              .mtu = 1500,
                              .up = true,
                              .on_sent = [this](std::span<const std::byte> p) { sent_bytes_ += p.size(); }});
    ASSERT_TRUE(added.has_value());
    auto object = machine_->open(std::string(SKEP_BPF_DIR) + "/packet_router.bpf.o");
    ASSERT_TRUE(object.has_value());
    object_ = *object;
    ASSERT_TRUE(object_->load().has_value());
    program_ = *object_->program("packet_router");
    const auto device = *object_->program("on_device");
    const auto cpu = *object_->program("on_cpu");
    ASSERT_TRUE(object_->map("networks")
                    ->update(words({kNetwork}), words({2, static_cast<uint32_t>(device.descriptor())}))
                    .has_value());
    ASSERT_TRUE(object_->map("cpus")
                    ->update(words({kPingCpu}), words({64, static_cast<uint32_t>(cpu.descriptor())}))
                    .has_value());
  }
  uint64_t pings(unsigned cpu) const {
    const auto value = *object_->map("pings")->lookup(words({0}));
    uint64_t count = 0;
    std::memcpy(&count, value.data() + sizeof count * cpu, sizeof count);
    return count;
  }

  Result<Machine> machine_ = Machine::create({.cpus = 3});
  std::optional<Object> object_;
  std::optional<Program> program_;
  std::atomic<size_t> sent_bytes_{0};
  std::vector<std::byte> ping_ = packet_of(1);
  std::vector<std::byte> udp_ = packet_of(17);
};

TEST_F(ForwardingTest, ResultsTellWhereThePacketWent) {
  const auto result = program_->run(0, {.data = udp_, .want_output = true});
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(program_->verdict_name(result->return_value), "XDP_REDIRECT");
  EXPECT_EQ(result->data, udp_) << "as the program left it";
  ASSERT_EQ(result->forwarding.packets.size(), 1U);
  const Forwarded& packet = result->forwarding.packets[0];
  EXPECT_EQ(packet.to, Forwarded::To::kDevice);
  EXPECT_EQ(packet.index, 2U);
  EXPECT_TRUE(packet.redirected);
  ASSERT_EQ(packet.data.size(), udp_.size());
  EXPECT_EQ(packet.data[11], std::byte{2}) << "the device's address";
  EXPECT_EQ(packet.data[22], std::byte{63}) << "one hop less";
  EXPECT_EQ(sent_bytes_, udp_.size());
  const auto without = program_->run(0, {.data = udp_});
  EXPECT_TRUE(without->forwarding.packets.at(0).data.empty()) << "nobody asked";
}

TEST_F(ForwardingTest, DevicesGoDown) {
  ASSERT_TRUE(machine_->set_device_up(2, false).has_value());
  const auto result = program_->run(0, {.data = udp_});
  ASSERT_EQ(result->forwarding.errors.size(), 1U);
  EXPECT_EQ(result->forwarding.errors[0].code, ENETDOWN);
  EXPECT_EQ(machine_->set_device_up(77, true).error().code, ENODEV);
  EXPECT_EQ(machine_->add_device({.ifindex = 2}).error().code, EEXIST);
}

TEST_F(ForwardingTest, ProgramsForElementsAreNotRunAlone) {
  for (const ProgramInfo& info : object_->programs()) EXPECT_EQ(info.can_run, info.name == "packet_router");
  EXPECT_EQ(object_->program("on_cpu")->run(0, {.data = udp_}).error().code, EINVAL);
  EXPECT_EQ(object_->program("on_device")->runner(0).error().code, EINVAL);
}

TEST_F(ForwardingTest, RunnersDoWhatIsForTheirCpu) {
  auto runner = program_->runner(kPingCpu);
  ASSERT_TRUE(runner.has_value());
  for (int n = 0; n < 2; ++n) {
    ASSERT_TRUE(runner->run({.data = ping_}).has_value());
    ASSERT_EQ(runner->forwarding().packets.size(), 1U);
    EXPECT_EQ(runner->forwarding().packets[0].to, Forwarded::To::kCpu);
    EXPECT_EQ(runner->forwarding().packets[0].index, kPingCpu);
  }
  EXPECT_EQ(pings(kPingCpu), 2U);
  ASSERT_TRUE(runner->run({.data = udp_}).has_value());
  EXPECT_EQ(runner->forwarding().packets.at(0).to, Forwarded::To::kDevice);
  // The CPU is held, also for packets from elsewhere.
  const auto other = program_->run(0, {.data = ping_});
  ASSERT_EQ(other->forwarding.errors.size(), 1U);
  EXPECT_EQ(other->forwarding.errors[0].code, EBUSY);
  EXPECT_EQ(pings(kPingCpu), 2U);
}

// CPU 1 gets everybody's pings while it has work of its own; nobody waits for ever.
TEST_F(ForwardingTest, ManyCpusAtOnce) {
  constexpr int kRounds = 500;
  std::atomic<int> arrived{0};
  {
    std::vector<std::jthread> threads;
    for (unsigned cpu = 0; cpu < 3; ++cpu)
      threads.emplace_back([&, cpu] {
        for (int n = 0; n < kRounds; ++n) {
          const auto result = program_->run(cpu, {.data = n % 2 == 0 ? ping_ : udp_});
          if (result && result->forwarding.packets.size() == 1) ++arrived;
        }
      });
  }
  EXPECT_EQ(arrived, 3 * kRounds);
  EXPECT_EQ(pings(kPingCpu), 3U * kRounds / 2);
  EXPECT_EQ(pings(0) + pings(2), 0U);
}

}  // namespace
}  // namespace skep
