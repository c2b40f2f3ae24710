// What becomes of packets that programs redirect.
#include "vm/forward.hpp"

#include <linux/pkt_cls.h>

#include <cstring>
#include <numeric>

#include "vm_fixture.hpp"

namespace skep::test {
namespace {

std::vector<std::byte> frame(size_t size) {
  std::vector<std::byte> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(i);
  return out;
}

class Forwards : public testing::TestWithParam<Execution> {
 protected:
  void SetUp() override {
    for (const uint32_t ifindex : {2U, 3U, 4U}) add({.ifindex = ifindex, .name = {}, .on_sent = {}});
  }

  void add(vm::DeviceSpec spec) {
    const auto added = machine_->devices().add(std::move(spec));
    EXPECT_TRUE(added.has_value()) << added.error().message;
  }

  // A program for a device map's elements (BPF_XDP_DEVMAP) or a CPU map's.
  std::shared_ptr<vm::Program> entry_program(std::string_view text, uint32_t attach_type,
                                             std::vector<std::shared_ptr<maps::Map>> maps = {}) {
    vm::ProgramSpec spec;
    spec.type = &vm::attached(*vm::find_program_type("xdp"), attach_type);
    spec.name = "entry";
    spec.license = "GPL";
    spec.expected_attach_type = attach_type;
    spec.instructions = assemble(text);
    auto made = vm::Program::create(
        std::move(spec), {machine_->helpers(), machine_->engines(), 7}, [&](int32_t index, bool) {
          return Result<std::shared_ptr<maps::Map>>(maps.at(static_cast<size_t>(index)));
        });
    EXPECT_TRUE(made.has_value()) << made.error().message;
    return made ? *made : nullptr;
  }

  int put(maps::Map& map, uint32_t key, uint32_t number, std::shared_ptr<vm::Program> program = nullptr) {
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    const std::array<uint32_t, 2> value{number, program ? 5U : 0U};
    return map.redirects()->write_entry(
        &key, value.data(), BPF_ANY,
        [&](int) -> Result<std::shared_ptr<maps::Object>> { return std::shared_ptr<maps::Object>(program); });
  }

  // Runs on CPU 0 and carries the packet to its end.
  Forwarding run(const vm::Program& program, vm::PacketInput input) {
    const vm::RunOptions options{GetParam().engine, GetParam().mode, 100000};
    vm::Forwarder forwarder(*machine_, options, true, [&](const vm::Fault& fault) { fault_ = fault.kind; });
    {
      const vm::CpuLock lock(machine_->cpu(0));
      vm::Runner runner(machine_->cpu(0), program, options);
      auto packet = vm::PacketContext::create(machine_->cpu(0), program.type(), input);
      EXPECT_TRUE(packet.has_value());
      const vm::RunResult result = runner.run(*packet);
      EXPECT_FALSE(result.faulted);
      verdict_ = result.r0;
      if (vm::Forwarder::concerns(program.type(), result.r0)) forwarder.carry_on(runner, *packet, result.r0);
      output_ = packet->output();
    }
    forwarder.deliver(nullptr);
    return forwarder.take_result();
  }
  Forwarding run(std::string_view text, std::vector<std::shared_ptr<maps::Map>> maps = {},
                 std::string_view type = "xdp") {
    const auto program = make_program(*machine_, text, type, std::move(maps));
    return run(*program, {.data = bytes_, .ingress_ifindex = 4, .rx_queue_index = 0});
  }
  // return bpf_redirect_map(map 0, key, flags)
  static std::string to_map(uint32_t key, uint32_t flags) {
    return "r1 = map_by_fd(0)\nr2 = " + std::to_string(key) + "\nr3 = " + std::to_string(flags) +
           "\ncall 51\nexit";
  }

  static std::vector<uint32_t> indices(const Forwarding& forwarding) {
    std::vector<uint32_t> out;
    for (const Forwarded& packet : forwarding.packets) out.push_back(packet.index);
    return out;
  }
  static int only_error(const Forwarding& forwarding) {
    EXPECT_TRUE(forwarding.packets.empty());
    return forwarding.errors.size() == 1 ? forwarding.errors.front().code : 0;
  }

  std::vector<std::byte> bytes_ = frame(60);
  std::unique_ptr<vm::Machine> machine_ = make_machine(3);
  std::optional<vm::FaultKind> fault_;
  uint64_t verdict_ = 0;
  std::vector<std::byte> output_;
};

TEST_P(Forwards, TransmitGoesBackByTheIngressDevice) {
  const auto done = run("r0 = 3\nexit");
  ASSERT_EQ(indices(done), std::vector<uint32_t>{4});
  EXPECT_EQ(done.packets[0].to, Forwarded::To::kDevice);
  EXPECT_FALSE(done.packets[0].redirected);
  EXPECT_EQ(done.packets[0].data, bytes_);
}

TEST_P(Forwards, OtherVerdictsGoNowhere) {
  for (const char* verdict : {"0", "1", "2", "5"}) {
    const auto done = run(std::string("r0 = ") + verdict + "\nexit");
    EXPECT_TRUE(done.packets.empty() && done.errors.empty()) << verdict;
  }
}

TEST_P(Forwards, RedirectByIndex) {
  const auto done = run("r1 = 3\nr2 = 0\ncall 23\nexit");
  ASSERT_EQ(indices(done), std::vector<uint32_t>{3});
  EXPECT_TRUE(done.packets[0].redirected);
  EXPECT_EQ(done.packets[0].data, bytes_);
}

TEST_P(Forwards, RedirectsThatFail) {
  EXPECT_EQ(only_error(run("r1 = 99\nr2 = 0\ncall 23\nexit")), EINVAL) << "no such device";
  EXPECT_EQ(only_error(run("r1 = 1\nr2 = 0\ncall 23\nexit")), EOPNOTSUPP) << "the loopback device";
  EXPECT_EQ(only_error(run("r0 = 4\nexit")), EBADRQC) << "nobody said where to";
  machine_->devices().find(3)->set_up(false);
  EXPECT_EQ(only_error(run("r1 = 3\nr2 = 0\ncall 23\nexit")), ENETDOWN);
}

// The link-layer header and a VLAN tag are not counted.
TEST_P(Forwards, PacketsFitTheMtu) {
  add({.ifindex = 9, .name = {}, .mtu = 100, .on_sent = {}});
  bytes_ = frame(118);
  EXPECT_EQ(indices(run("r1 = 9\nr2 = 0\ncall 23\nexit")), std::vector<uint32_t>{9});
  bytes_ = frame(119);
  EXPECT_EQ(only_error(run("r1 = 9\nr2 = 0\ncall 23\nexit")), EMSGSIZE);
}

// A lookup that finds nothing takes back what an earlier one found; the number stays.
TEST_P(Forwards, TheLastLookupCounts) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_DEVMAP, 4, 4, 8);
  ASSERT_EQ(put(*map, 1, 3), 0);
  const std::string first = "r1 = map_by_fd(0)\nr2 = 1\nr3 = 0\ncall 51\n";
  const std::string missed = "r1 = map_by_fd(0)\nr2 = 7\nr3 = 2\ncall 51\n";
  const auto passed = run(first + missed + "exit", {map});
  EXPECT_EQ(verdict_, 2U);
  EXPECT_TRUE(passed.packets.empty());
  EXPECT_EQ(only_error(run(missed + "r0 = 4\nexit", {map})), EINVAL) << "device 0";
  EXPECT_EQ(only_error(run(first + missed + "r0 = 4\nexit", {map})), EOPNOTSUPP)
      << "the key as an ifindex: 1";
}

// A program that says where to and then does not redirect leaves nothing for the next packet.
TEST_P(Forwards, NothingIsLeftForTheNextPacket) {
  EXPECT_TRUE(run("r1 = 3\nr2 = 0\ncall 23\nr0 = 2\nexit").packets.empty());
  EXPECT_EQ(only_error(run("r0 = 4\nexit")), EBADRQC);
}

TEST_P(Forwards, MapsOfDevices) {
  for (const uint32_t type : {uint32_t{BPF_MAP_TYPE_DEVMAP}, uint32_t{BPF_MAP_TYPE_DEVMAP_HASH}}) {
    const auto map = make_map(*machine_, type, 4, 8, 8);
    ASSERT_EQ(put(*map, 5, 3), 0);
    EXPECT_EQ(put(*map, 6, 77), -EINVAL) << "no such device";
    EXPECT_EQ(indices(run(to_map(5, 0), {map})), std::vector<uint32_t>{3});
    EXPECT_TRUE(run(to_map(6, 1), {map}).packets.empty());
    EXPECT_EQ(verdict_, 1U);
  }
}

TEST_P(Forwards, BroadcastsReachAllButTheIngressDevice) {
  add({.ifindex = 10, .name = {}, .mtu = 20, .on_sent = {}});  // too small
  add({.ifindex = 11, .name = {}, .up = false, .on_sent = {}});
  for (const uint32_t type : {uint32_t{BPF_MAP_TYPE_DEVMAP}, uint32_t{BPF_MAP_TYPE_DEVMAP_HASH}}) {
    const auto map = make_map(*machine_, type, 4, 4, 16);
    uint32_t key = 0;
    for (const uint32_t ifindex : {1U, 2U, 4U, 10U, 11U, 3U}) ASSERT_EQ(put(*map, key++, ifindex), 0);
    const auto all = run(to_map(0, BPF_F_BROADCAST), {map});
    EXPECT_EQ(indices(all), (std::vector<uint32_t>{2, 4, 3})) << "who cannot take it is passed over";
    EXPECT_TRUE(all.errors.empty());
    for (const Forwarded& packet : all.packets) EXPECT_EQ(packet.data, bytes_);
    EXPECT_EQ(indices(run(to_map(0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS), {map})),
              (std::vector<uint32_t>{2, 3}));
  }
}

TEST_P(Forwards, ABroadcastToNobodyIsADrop) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_DEVMAP, 4, 4, 4);
  ASSERT_EQ(put(*map, 0, 4), 0);
  const auto done = run(to_map(0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS), {map});
  EXPECT_TRUE(done.packets.empty() && done.errors.empty());
  EXPECT_EQ(done.dropped, 1U);
}

// Writes where it came from, where it goes and which queue into the packet.
constexpr std::string_view kStamp = R"(
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 14
    if r4 > r3 goto +8
    r5 = *(u32 *)(r1 + 12)
    *(u8 *)(r2 + 0) = r5
    r5 = *(u32 *)(r1 + 20)
    *(u8 *)(r2 + 1) = r5
    r5 = *(u32 *)(r1 + 16)
    *(u8 *)(r2 + 2) = r5
    r0 = 2
    exit
    r0 = 0
    exit)";

TEST_P(Forwards, DeviceProgramsRunBeforeThePacketLeaves) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_DEVMAP, 4, 8, 4);
  const auto stamp = entry_program(kStamp, BPF_XDP_DEVMAP);
  ASSERT_EQ(put(*map, 0, 2, stamp), 0);
  ASSERT_EQ(put(*map, 1, 3, stamp), 0);
  const auto done = run(to_map(0, BPF_F_BROADCAST), {map});
  ASSERT_EQ(indices(done), (std::vector<uint32_t>{2, 3}));
  for (const Forwarded& packet : done.packets) {
    EXPECT_EQ(packet.data[0], std::byte{4}) << "ingress";
    EXPECT_EQ(packet.data[1], static_cast<std::byte>(packet.index)) << "egress";
    EXPECT_EQ(packet.data[2], std::byte{0}) << "the queue is not carried over";
    EXPECT_TRUE(std::equal(bytes_.begin() + 3, bytes_.end(), packet.data.begin() + 3));
  }
  EXPECT_EQ(output_, bytes_) << "clones were changed, not what the program left";
}

TEST_P(Forwards, WhatDeviceProgramsDoNotPassIsDropped) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_DEVMAP_HASH, 4, 8, 4);
  for (const char* verdict : {"0", "1", "3", "4", "9"}) {
    ASSERT_EQ(put(*map, 0, 2, entry_program(std::string("r0 = ") + verdict + "\nexit", BPF_XDP_DEVMAP)), 0);
    const auto done = run(to_map(0, 0), {map});
    EXPECT_TRUE(done.packets.empty() && done.errors.empty()) << verdict;
    EXPECT_EQ(done.dropped, 1U) << verdict;
  }
}

// What the first program did to the front of the packet is what the second finds: the room before it, too.
TEST_P(Forwards, DeviceProgramsGetThePacketAsItWasLeft) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_DEVMAP, 4, 8, 4);
  // Grows by what is left of 216 bytes; returns XDP_PASS if that is refused beyond them.
  const auto grow = [&](int by) {
    return entry_program(
        "r2 = " + std::to_string(-by) + "\ncall 44\nif r0 == 0 goto +2\nr0 = 1\nexit\nr0 = 2\nexit",
        BPF_XDP_DEVMAP);
  };
  const std::string pushed = "r6 = r1\nr2 = -200\ncall 44\n" + to_map(0, 0);
  ASSERT_EQ(put(*map, 0, 2, grow(16)), 0);
  const auto done = run(pushed, {map});
  ASSERT_EQ(done.packets.size(), 1U);
  EXPECT_EQ(done.packets[0].data.size(), 60U + 200 + 16);
  ASSERT_EQ(put(*map, 0, 2, grow(17)), 0);
  EXPECT_EQ(run(pushed, {map}).dropped, 1U);
}

class ForwardsChecked : public Forwards {};

// The runs after it find nothing of what a device's program wrote to its stack.
TEST_P(ForwardsChecked, TheStackIsZeroWhateverADeviceProgramWrote) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_DEVMAP, 4, 8, 4);
  ASSERT_EQ(put(*map, 0, 2, entry_program("*(u64 *)(r10 - 504) = -1\nr0 = 2\nexit", BPF_XDP_DEVMAP)), 0);
  ASSERT_EQ(run(to_map(0, 0), {map}).packets.size(), 1U);
  run("r0 = *(u64 *)(r10 - 504)\nexit");
  EXPECT_EQ(verdict_, 0U);
}

TEST_P(ForwardsChecked, FaultsOfDeviceProgramsAreTold) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_DEVMAP, 4, 8, 4);
  ASSERT_EQ(put(*map, 0, 2, entry_program("r0 = *(u64 *)(r1 + 64)\nexit", BPF_XDP_DEVMAP)), 0);
  ASSERT_EQ(put(*map, 1, 3), 0);
  const auto done = run(to_map(0, BPF_F_BROADCAST), {map});
  EXPECT_EQ(done.faults, 1U);
  EXPECT_EQ(fault_, vm::FaultKind::kMemory);
  EXPECT_EQ(indices(done), std::vector<uint32_t>{3}) << "the others get theirs";
}

TEST_P(ForwardsChecked, EgressDeviceIsForDeviceProgramsAlone) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_CPUMAP, 4, 8, 3);
  ASSERT_EQ(put(*map, 1, 8, entry_program("r0 = *(u32 *)(r1 + 20)\nr0 = 2\nexit", BPF_XDP_CPUMAP)), 0);
  EXPECT_EQ(run(to_map(1, 0), {map}).faults, 1U);
}

TEST_P(Forwards, CpuMapsHandPacketsToTheStack) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_CPUMAP, 4, 4, 8);
  EXPECT_EQ(put(*map, 3, 8), -ENODEV) << "the machine has three CPUs";
  ASSERT_EQ(put(*map, 2, 8), 0);
  const auto done = run(to_map(2, 0), {map});
  ASSERT_EQ(indices(done), std::vector<uint32_t>{2});
  EXPECT_EQ(done.packets[0].to, Forwarded::To::kCpu);
  EXPECT_EQ(done.packets[0].data, bytes_);
}

// Writes the CPU it runs on (call 8) and the ingress device into the packet.
constexpr std::string_view kWhere = R"(
    r6 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r7 = *(u32 *)(r1 + 12)
    r4 = r6
    r4 += 14
    if r4 > r3 goto +5
    call 8
    *(u8 *)(r6 + 0) = r0
    *(u8 *)(r6 + 1) = r7
    r0 = 2
    exit
    r0 = 0
    exit)";

TEST_P(Forwards, CpuProgramsRunOnTheirCpu) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_CPUMAP, 4, 8, 3);
  const auto where = entry_program(kWhere, BPF_XDP_CPUMAP);
  for (const uint32_t cpu : {0U, 1U, 2U}) {
    ASSERT_EQ(put(*map, cpu, 8, where), 0);
    const auto done = run(to_map(cpu, 0), {map});
    ASSERT_EQ(indices(done), std::vector<uint32_t>{cpu});
    EXPECT_EQ(done.packets[0].data[0], static_cast<std::byte>(cpu));
    EXPECT_EQ(done.packets[0].data[1], std::byte{4}) << "the ingress device is carried over";
  }
}

TEST_P(Forwards, CpuProgramsMayRedirect) {
  const auto devices = make_map(*machine_, BPF_MAP_TYPE_DEVMAP, 4, 8, 4);
  ASSERT_EQ(put(*devices, 0, 3, entry_program(kStamp, BPF_XDP_DEVMAP)), 0);
  const auto cpus = make_map(*machine_, BPF_MAP_TYPE_CPUMAP, 4, 8, 3);
  ASSERT_EQ(put(*cpus, 1, 8, entry_program(to_map(0, 0), BPF_XDP_CPUMAP, {devices})), 0);
  const auto done = run(to_map(1, 0), {cpus});
  ASSERT_EQ(indices(done), std::vector<uint32_t>{3});
  EXPECT_EQ(done.packets[0].to, Forwarded::To::kDevice);
  EXPECT_EQ(done.packets[0].data[1], std::byte{3});
  // Everything else but XDP_PASS is a drop.
  for (const char* verdict : {"0", "1", "3"}) {
    ASSERT_EQ(put(*cpus, 1, 8, entry_program(std::string("r0 = ") + verdict + "\nexit", BPF_XDP_CPUMAP)), 0);
    EXPECT_EQ(run(to_map(1, 0), {cpus}).dropped, 1U) << verdict;
  }
}

TEST_P(Forwards, RoundsFromCpuToCpuEnd) {
  const auto cpus = make_map(*machine_, BPF_MAP_TYPE_CPUMAP, 4, 8, 3);
  ASSERT_EQ(put(*cpus, 1, 8, entry_program(to_map(2, 0), BPF_XDP_CPUMAP, {cpus})), 0);
  ASSERT_EQ(put(*cpus, 2, 8, entry_program(to_map(1, 0), BPF_XDP_CPUMAP, {cpus})), 0);
  EXPECT_EQ(only_error(run(to_map(1, 0), {cpus})), ELOOP);
  const maps::EpochDomain::TaskGuard guard(machine_->epochs());
  cpus->clear();  // they hold each other
}

TEST_P(Forwards, SocketMapsFallBack) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_XSKMAP, 4, 4, 4);
  EXPECT_TRUE(run(to_map(0, 2), {map}).packets.empty());
  EXPECT_EQ(verdict_, 2U);
}

TEST_P(Forwards, ClassifiersRedirectToDevices) {
  const auto sent = run("r1 = 2\nr2 = 0\ncall 23\nexit", {}, "sched_cls");
  ASSERT_EQ(indices(sent), std::vector<uint32_t>{2});
  EXPECT_EQ(sent.packets[0].to, Forwarded::To::kDevice);
  const auto received = run("r1 = 1\nr2 = 1\ncall 23\nexit", {}, "sched_cls");
  ASSERT_EQ(indices(received), std::vector<uint32_t>{1});
  EXPECT_EQ(received.packets[0].to, Forwarded::To::kDeviceIngress);
  EXPECT_EQ(only_error(run("r1 = 50\nr2 = 0\ncall 23\nexit", {}, "sched_cls")), EINVAL);
  EXPECT_EQ(only_error(run("r0 = 7\nexit", {}, "sched_cls")), EINVAL) << "device 0";
  EXPECT_TRUE(run("r1 = 2\nr2 = 8\ncall 23\nexit", {}, "sched_cls").packets.empty());
  EXPECT_EQ(verdict_, 2U) << "TC_ACT_SHOT";
  machine_->devices().find(3)->set_up(false);
  EXPECT_EQ(only_error(run("r1 = 3\nr2 = 0\ncall 23\nexit", {}, "sched_cls")), ENETDOWN);
}

TEST_P(Forwards, DevicesTellWhatTheySend) {
  std::vector<std::byte> seen;
  add({.ifindex = 20, .name = {}, .on_sent = [&](std::span<const std::byte> packet) {
         seen.assign(packet.begin(), packet.end());
       }});
  run("r1 = 20\nr2 = 0\ncall 23\nexit");
  EXPECT_EQ(seen, bytes_);
}

INSTANTIATE_TEST_SUITE_P(Each, Forwards, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

INSTANTIATE_TEST_SUITE_P(Each, ForwardsChecked, testing::ValuesIn(checked_executions()),
                         [](const auto& info) { return name_of(info.param); });

TEST(Devices, AreAddedOnce) {
  vm::DeviceTable devices;
  EXPECT_TRUE(devices.has_device(1)) << "the loopback device";
  EXPECT_FALSE(devices.has_device(2));
  EXPECT_TRUE(devices.add({.ifindex = 2, .name = "a", .on_sent = {}}).has_value());
  EXPECT_EQ(devices.add({.ifindex = 2, .name = "b", .on_sent = {}}).error().code, EEXIST);
  EXPECT_EQ(devices.find(2)->name(), "a");
  EXPECT_TRUE(devices.add({.ifindex = 66, .name = {}, .on_sent = {}}).has_value());
  EXPECT_EQ(devices.find(66)->name(), "dev66");
  EXPECT_EQ(devices.add({.ifindex = 0, .name = {}, .on_sent = {}}).error().code, EINVAL);
  EXPECT_EQ(devices.add({.ifindex = 1U << 31, .name = {}, .on_sent = {}}).error().code, EINVAL);
  // The loopback device makes place, once.
  EXPECT_TRUE(devices.add({.ifindex = 1, .name = "first", .on_sent = {}}).has_value());
  EXPECT_EQ(devices.find(1)->name(), "first");
  EXPECT_EQ(devices.find(1)->refuses(100), 0);
  EXPECT_EQ(devices.add({.ifindex = 1, .name = {}, .on_sent = {}}).error().code, EEXIST);
}

}  // namespace
}  // namespace skep::test
