#include "vm/packet.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "vm_fixture.hpp"

namespace skep::test {
namespace {

// An Ethernet header of type IPv4 to the broadcast address, then the bytes 0, 1, 2, …
std::vector<std::byte> frame(size_t size) {
  std::vector<std::byte> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = i < 6 ? std::byte{0xff} : static_cast<std::byte>(i);
  if (size > 13) {
    out[12] = std::byte{0x08};
    out[13] = std::byte{0x00};
  }
  return out;
}

struct PacketRun {
  vm::RunResult result;
  vm::Fault fault;
  std::vector<std::byte> output;
  Error error;
};

class Packets : public testing::TestWithParam<Execution> {
 protected:
  PacketRun run(std::string_view type, std::string_view text, const vm::PacketInput& input) {
    PacketRun out;
    const auto program = make_program(*machine_, text, type);
    if (!program) return out;
    vm::Cpu& cpu = machine_->cpu(0);
    auto packet = vm::PacketContext::create(cpu, program->type(), input);
    if (!packet) {
      out.error = packet.error();
      return out;
    }
    out.result = vm::run_packet(cpu, *program, *packet, {GetParam().engine, GetParam().mode, 100000});
    out.fault = cpu.fault();
    out.output = packet->output();
    return out;
  }
  bool checked() const { return GetParam().mode == vm::Mode::kChecked; }

  std::unique_ptr<vm::Machine> machine_ = make_machine();
};

TEST_P(Packets, XdpReadsItsPacketThroughItsContext) {
  const auto bytes = frame(60);
  const auto run_ = run("xdp", R"(
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r0 = r3
    r0 -= r2
    r4 = *(u8 *)(r2 + 59)
    r0 <<= 8
    r0 |= r4
    exit)",
                        {.data = bytes});
  ASSERT_FALSE(run_.result.faulted) << vm::describe(run_.fault);
  EXPECT_EQ(run_.result.r0, 60U << 8 | 59U);
}

TEST_P(Packets, XdpHasItsOtherFields) {
  const auto bytes = frame(60);
  const auto run_ =
      run("xdp", R"(
    r2 = *(u32 *)(r1 + 12)
    r3 = *(u32 *)(r1 + 16)
    r4 = *(u32 *)(r1 + 8)
    r5 = *(u32 *)(r1 + 0)
    r5 -= r4
    r0 = r2
    r0 <<= 16
    r0 |= r3
    r0 <<= 16
    r0 |= r5
    exit)",
          {.data = bytes, .meta = std::span(bytes).first(8), .ingress_ifindex = 7, .rx_queue_index = 3});
  ASSERT_FALSE(run_.result.faulted);
  EXPECT_EQ(run_.result.r0, 7ULL << 32 | 3U << 16 | 8U);
}

TEST_P(Packets, AccessBehindThePacketIsAFault) {
  if (!checked()) return;
  const auto bytes = frame(60);
  const auto run_ = run("xdp", "r2 = *(u32 *)(r1 + 4)\nr0 = *(u8 *)(r2 + 0)\nexit", {.data = bytes});
  ASSERT_TRUE(run_.result.faulted);
  EXPECT_EQ(run_.fault.kind, vm::FaultKind::kMemory);
  EXPECT_EQ(run_.fault.slot, 1U);
  EXPECT_EQ(run_.fault.size, 1U);
  EXPECT_FALSE(run_.fault.write);
}

TEST_P(Packets, ContextFieldsAreHeldAgainstTheTable) {
  if (!checked()) return;
  const auto bytes = frame(60);
  const auto faults = [&](std::string_view type, const char* text) {
    return run(type, std::string(text) + "\nr0 = 0\nexit", {.data = bytes}).result.faulted;
  };
  EXPECT_TRUE(faults("xdp", "r2 = *(u64 *)(r1 + 0)")) << "two fields at once";
  EXPECT_TRUE(faults("xdp", "r2 = *(u16 *)(r1 + 0)")) << "half of a pointer";
  EXPECT_TRUE(faults("xdp", "*(u32 *)(r1 + 12) = 1")) << "a field that is not writable";
  EXPECT_TRUE(faults("xdp", "r2 = *(u32 *)(r1 + 24)")) << "behind the last field";
  EXPECT_TRUE(faults("socket_filter", "r2 = *(u32 *)(r1 + 76)")) << "data of a socket filter";
  EXPECT_FALSE(faults("sched_cls", "r2 = *(u32 *)(r1 + 76)"));
  EXPECT_FALSE(faults("sched_cls", "r2 = *(u8 *)(r1 + 9)")) << "a byte of mark";
  EXPECT_FALSE(faults("sched_cls", "*(u32 *)(r1 + 8) = 1")) << "mark";
  EXPECT_TRUE(faults("socket_filter", "*(u32 *)(r1 + 8) = 1")) << "mark of a socket filter";
  EXPECT_FALSE(faults("socket_filter", "*(u32 *)(r1 + 48) = 1")) << "cb";
  EXPECT_FALSE(faults("sched_cls", "*(u64 *)(r1 + 48) = 1")) << "two words of cb";
}

TEST_P(Packets, SkbBeginsAsTheKernelsTestRunMakesIt) {
  const auto bytes = frame(60);
  const char* text = R"(
    r0 = *(u32 *)(r1 + 0)
    r2 = *(u32 *)(r1 + 4)
    r0 <<= 16
    r0 |= r2
    r2 = *(u32 *)(r1 + 16)
    r0 <<= 16
    r0 |= r2
    r2 = *(u32 *)(r1 + 40)
    r0 <<= 8
    r0 |= r2
    exit)";
  // len, pkt_type (broadcast), protocol (in network order), ifindex (loopback)
  EXPECT_EQ(run("sched_cls", text, {.data = bytes}).result.r0,
            ((60ULL << 16 | 1U) << 16 | 0x0008U) << 8 | 1U);
  // A socket filter's packet begins behind the link-layer header.
  EXPECT_EQ(run("socket_filter", text, {.data = bytes}).result.r0,
            ((46ULL << 16 | 1U) << 16 | 0x0008U) << 8 | 1U);
}

TEST_P(Packets, SkbTakesTheCallersFields) {
  const auto bytes = frame(60);
  __sk_buff skb{};
  skb.mark = 0x1234;
  skb.priority = 6;
  skb.cb[4] = 9;
  const auto run_ = run("sched_cls", R"(
    r0 = *(u32 *)(r1 + 8)
    r2 = *(u32 *)(r1 + 32)
    r3 = *(u32 *)(r1 + 64)
    r0 <<= 8
    r0 |= r2
    r0 <<= 8
    r0 |= r3
    exit)",
                        {.data = bytes, .skb = &skb});
  EXPECT_EQ(run_.result.r0, 0x12340609U);
}

TEST_P(Packets, PacketLoadsReadBigEndianFromTheStart) {
  const auto bytes = frame(60);
  EXPECT_EQ(run("sched_cls", "r6 = r1\nr0 = *(u16 *)skb[12]\nexit", {.data = bytes}).result.r0, 0x0800U);
  EXPECT_EQ(run("socket_filter", "r6 = r1\nr0 = *(u16 *)skb[0]\nexit", {.data = bytes}).result.r0, 0x0e0fU);
  // SKF_LL_OFF and SKF_NET_OFF
  EXPECT_EQ(run("socket_filter", "r6 = r1\nr0 = *(u16 *)skb[-2097140]\nexit", {.data = bytes}).result.r0,
            0x0800U);
  EXPECT_EQ(run("sched_cls", "r6 = r1\nr0 = *(u8 *)skb[-1048576]\nexit", {.data = bytes}).result.r0, 14U);
  // Behind the packet the program ends with 0.
  EXPECT_EQ(run("sched_cls", "r6 = r1\nr0 = *(u16 *)skb[59]\nr0 = 5\nexit", {.data = bytes}).result.r0, 0U);
}

TEST_P(Packets, AdjustHeadGrowsAndShrinksAtTheFront) {
  const auto bytes = frame(60);
  const char* grow = "r2 = -4\ncall 44\nexit";
  const auto grown = run("xdp", grow, {.data = bytes});
  EXPECT_EQ(grown.result.r0, 0U);
  EXPECT_EQ(grown.output.size(), 64U);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), grown.output.begin() + 4));
  const auto shrunk = run("xdp", "r2 = 20\ncall 44\nexit", {.data = bytes});
  EXPECT_EQ(shrunk.output.size(), 40U);
  // 14 bytes have to stay, and 40 of the 256 bytes of headroom are the kernel's.
  EXPECT_EQ(run("xdp", "r2 = 46\ncall 44\nexit", {.data = bytes}).result.r0, 0U);
  EXPECT_EQ(static_cast<int64_t>(run("xdp", "r2 = 47\ncall 44\nexit", {.data = bytes}).result.r0), -EINVAL);
  EXPECT_EQ(run("xdp", "r2 = -216\ncall 44\nexit", {.data = bytes}).result.r0, 0U);
  EXPECT_EQ(static_cast<int64_t>(run("xdp", "r2 = -217\ncall 44\nexit", {.data = bytes}).result.r0), -EINVAL);
}

TEST_P(Packets, AdjustTailClearsWhatItAdds) {
  const auto bytes = frame(60);
  const auto grown = run("xdp", "r2 = 8\ncall 65\nexit", {.data = bytes});
  ASSERT_EQ(grown.output.size(), 68U);
  for (size_t i = 60; i < 68; ++i) EXPECT_EQ(grown.output[i], std::byte{0});
  EXPECT_EQ(run("xdp", "r2 = -46\ncall 65\nexit", {.data = bytes}).output.size(), 14U);
  EXPECT_EQ(static_cast<int64_t>(run("xdp", "r2 = -47\ncall 65\nexit", {.data = bytes}).result.r0), -EINVAL);
  // 4096 bytes less headroom and skb_shared_info.
  EXPECT_EQ(run("xdp", "r2 = 3460\ncall 65\nexit", {.data = bytes}).output.size(), 3520U);
  EXPECT_EQ(static_cast<int64_t>(run("xdp", "r2 = 3461\ncall 65\nexit", {.data = bytes}).result.r0), -EINVAL);
}

TEST_P(Packets, AdjustMetaTakesMultiplesOfFour) {
  const auto bytes = frame(60);
  EXPECT_EQ(run("xdp", "r2 = -8\ncall 54\nexit", {.data = bytes}).result.r0, 0U);
  EXPECT_EQ(static_cast<int64_t>(run("xdp", "r2 = -6\ncall 54\nexit", {.data = bytes}).result.r0), -EACCES);
  EXPECT_EQ(static_cast<int64_t>(run("xdp", "r2 = 4\ncall 54\nexit", {.data = bytes}).result.r0), -EINVAL);
}

TEST_P(Packets, MemoryThatAdjustHeadGaveUpIsNoLongerThePrograms) {
  if (!checked()) return;
  const auto bytes = frame(60);
  const auto run_ = run("xdp", R"(
    r6 = *(u32 *)(r1 + 0)
    r2 = 4
    call 44
    r0 = *(u8 *)(r6 + 0)
    exit)",
                        {.data = bytes});
  ASSERT_TRUE(run_.result.faulted);
  EXPECT_EQ(run_.fault.slot, 3U);
}

TEST_P(Packets, HeadroomIsZeroAtEachRun) {
  const auto bytes = frame(60);
  run("xdp", R"(
    r6 = r1
    r2 = -16
    call 44
    r1 = *(u32 *)(r6 + 0)
    *(u64 *)(r1 + 0) = -1
    *(u64 *)(r1 + 8) = -1
    exit)",
      {.data = bytes});
  const auto grown = run("xdp", "r2 = -16\ncall 44\nexit", {.data = bytes});
  ASSERT_EQ(grown.output.size(), 76U);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(grown.output[i], std::byte{0});
}

TEST_P(Packets, TooShortOrTooLongIsRefused) {
  EXPECT_EQ(run("xdp", "r0 = 0\nexit", {.data = frame(13)}).error.code, EINVAL);
  EXPECT_EQ(run("xdp", "r0 = 0\nexit", {.data = frame(14)}).error.code, 0);
  EXPECT_EQ(run("xdp", "r0 = 0\nexit", {.data = frame(3520)}).error.code, 0);
  EXPECT_EQ(run("xdp", "r0 = 0\nexit", {.data = frame(3521)}).error.code, EINVAL);
  EXPECT_EQ(run("sched_cls", "r0 = 0\nexit", {.data = frame(3712)}).error.code, 0);
  EXPECT_EQ(run("sched_cls", "r0 = 0\nexit", {.data = frame(3713)}).error.code, EINVAL);
}

TEST_P(Packets, SkbLoadBytesZeroesItsBufferBehindThePacket) {
  const auto bytes = frame(60);
  const char* load = R"(
    r3 = r10
    r3 += -8
    *(u64 *)(r10 - 8) = -1
    r2 = %OFFSET
    r4 = 4
    call 26
    r1 = *(u32 *)(r10 - 8)
    r0 <<= 32
    r0 |= r1
    exit)";
  const auto at = [&](const char* offset) {
    std::string text = load;
    text.replace(text.find("%OFFSET"), 7, offset);
    return run("sched_cls", text, {.data = bytes}).result.r0;
  };
  EXPECT_EQ(at("20"), 0x17161514U);
  EXPECT_EQ(at("57"), static_cast<uint64_t>(-EFAULT) << 32);
}

INSTANTIATE_TEST_SUITE_P(Engines, Packets, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace skep::test
