#include <gtest/gtest.h>

#include <string>

#include "maps/epoch.hpp"
#include "vm/packet.hpp"
#include "vm_fixture.hpp"

// Checked engines remember where a pointer led to: a packet that a helper moves, wherever it is called from,
// is no longer where it was.
namespace skep::test {
namespace {

constexpr uint32_t kSize = 64;
constexpr int32_t kCustomHelper = 1000;

class MovedPackets : public testing::TestWithParam<Execution> {
 protected:
  MovedPackets() {
    machine_->helpers().put_custom(kCustomHelper, "shrink", [](std::span<const uint64_t, 5>, vm::Cpu& cpu) {
      return static_cast<uint64_t>(cpu.packet_context->adjust_tail(-8));
    });
  }

  // r0 of a run, or its fault.
  vm::RunResult run(const vm::Program& program) {
    vm::Cpu& cpu = machine_->cpu(0);
    const std::vector<std::byte> bytes(kSize);
    auto packet = vm::PacketContext::create(cpu, program.type(), {.data = bytes});
    EXPECT_TRUE(packet.has_value());
    data_ = reinterpret_cast<uintptr_t>(packet->data().data());
    return vm::run_packet(cpu, program, *packet, {GetParam().engine, GetParam().mode, 100000});
  }
  std::shared_ptr<vm::Program> load(std::string_view text) {
    return make_program(*machine_, text, "xdp", maps_);
  }

  void expect_fault(const vm::Program& program, uint32_t slot, uint64_t offset, uint64_t size, bool write) {
    EXPECT_TRUE(run(program).faulted);
    const vm::Fault& fault = machine_->cpu(0).fault();
    EXPECT_EQ(fault.kind, vm::FaultKind::kMemory) << vm::describe(fault);
    EXPECT_EQ(fault.slot, slot);
    EXPECT_EQ(fault.address, data_ + offset);
    EXPECT_EQ(fault.size, size);
    EXPECT_EQ(fault.write, write);
  }
  void expect_fault(std::string_view text, uint32_t slot, uint64_t offset, uint64_t size, bool write) {
    const auto program = load(text);
    ASSERT_TRUE(program);
    expect_fault(*program, slot, offset, size, write);
  }
  void expect_result(std::string_view text, uint64_t r0) {
    const auto program = load(text);
    ASSERT_TRUE(program);
    const vm::RunResult result = run(*program);
    EXPECT_FALSE(result.faulted) << vm::describe(machine_->cpu(0).fault());
    EXPECT_EQ(result.r0, r0);
  }

  std::unique_ptr<vm::Machine> machine_ = make_machine();
  std::vector<std::shared_ptr<maps::Map>> maps_;
  uint64_t data_ = 0;
};

// r6: the context, r7: the packet. Both of the packet's regions are kept: for reading and for writing.
constexpr const char* kTouch =
    "r6 = r1\nr7 = *(u32 *)(r1 + 0)\n"
    "r0 = *(u64 *)(r7 + 56)\n*(u64 *)(r7 + 56) = 1\n";
const std::string kShrink = "r1 = r6\nr2 = -8\ncall 65\n";

TEST_P(MovedPackets, TheTailIsCutOff) {
  expect_fault(kTouch + kShrink + "r0 = *(u64 *)(r7 + 48)\nr0 = *(u64 *)(r7 + 56)\nexit", 8, 56, 8, false);
  expect_fault(kTouch + kShrink + "*(u64 *)(r7 + 48) = 1\n*(u64 *)(r7 + 49) = 1\nexit", 8, 49, 8, true);
}

TEST_P(MovedPackets, TheHeadIsCutOff) {
  expect_fault(kTouch + std::string("r1 = r6\nr2 = 8\ncall 44\n") +
                   "r0 = *(u64 *)(r7 + 8)\nr0 = *(u8 *)(r7 + 7)\nexit",
               8, 7, 1, false);
}

TEST_P(MovedPackets, WhatComesBehindIsFound) {
  expect_result(kTouch + std::string("r1 = r6\nr2 = 8\ncall 65\n*(u64 *)(r7 + 64) = 9\n") +
                    "r0 = *(u64 *)(r7 + 64)\nexit",
                9);
}

TEST_P(MovedPackets, ByAFunction) {
  expect_fault(kTouch + std::string("r1 = r6\ncall f\nr0 = *(u64 *)(r7 + 56)\nexit\n"
                                    "f:\ncall g\nexit\ng:\nr2 = -8\ncall 65\nexit"),
               6, 56, 8, false);
}

TEST_P(MovedPackets, ByACallback) {
  expect_fault(kTouch + std::string("r1 = 1\nr2 = code_addr(f)\nr3 = r6\nr4 = 0\ncall 181\n"
                                    "r0 = *(u64 *)(r7 + 56)\nexit\n"
                                    "f:\nr1 = r2\nr2 = -8\ncall 65\nr0 = 0\nexit"),
               10, 56, 8, false);
}

TEST_P(MovedPackets, ByAnEmbeddersHelper) {
  expect_fault(kTouch + std::string("call 1000\nr0 = *(u64 *)(r7 + 56)\nexit"), 5, 56, 8, false);
}

TEST_P(MovedPackets, ByAHelperOfAnyNumber) {
  expect_fault(kTouch + std::string("r1 = r6\nr2 = -8\nr8 = 65\ncallx r8\nr0 = *(u64 *)(r7 + 56)\nexit"), 8,
               56, 8, false);
}

// A function ends in another program, which moves the packet and returns to this one.
TEST_P(MovedPackets, ByAnotherProgram) {
  maps_ = {make_map(*machine_, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1)};
  const auto target = load("r2 = -8\ncall 65\nr0 = 0\nexit");
  {
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    ASSERT_EQ(maps_[0]->set_object(0, target), 0);
  }
  expect_fault(kTouch + std::string("r1 = r6\ncall f\nr0 = *(u64 *)(r7 + 56)\nexit\n"
                                    "f:\nr2 = map_by_fd(0)\nr3 = 0\ncall 12\nr0 = 1\nexit"),
               6, 56, 8, false);
}

// Fields of the context are found by the context's address, and only as the program may access them.
TEST_P(MovedPackets, TheContextStaysWhereItIs) {
  expect_result("r7 = *(u32 *)(r1 + 0)\nr8 = *(u32 *)(r1 + 4)\nr8 -= r7\nr6 = r1\n" + kShrink +
                    "r7 = *(u32 *)(r6 + 0)\nr0 = *(u32 *)(r6 + 4)\nr0 -= r7\nr0 <<= 8\nr0 |= r8\nexit",
                56 << 8 | 64);
  expect_result("r1 += 4\nr0 = *(u32 *)(r1 + 0)\nr2 = *(u32 *)(r1 - 4)\nr0 -= r2\nexit", 64);
  // A function that takes for its context what is none.
  expect_result("r1 = *(u32 *)(r1 + 0)\n*(u32 *)(r1 + 4) = 5\ncall f\nexit\nf:\nr0 = *(u32 *)(r1 + 4)\nexit",
                5);
  expect_result("r6 = r1\ncall f\nr1 = *(u32 *)(r6 + 0)\ncall f\nexit\nf:\nr0 = *(u32 *)(r1 + 4)\nexit", 0);
}

// What looks like a field of the context, at another address.
TEST_P(MovedPackets, TheContextIsHeldByItsAddress) {
  const auto program = load("r1 += 20\nr0 = *(u32 *)(r1 + 4)\nexit");
  ASSERT_TRUE(program);
  EXPECT_TRUE(run(*program).faulted);
  const vm::Cpu& cpu = machine_->cpu(0);
  EXPECT_EQ(cpu.fault().slot, 1U);
  EXPECT_EQ(cpu.fault().address, cpu.context.begin + 24);
  const auto function =
      load("r6 = *(u32 *)(r1 + 0)\nr1 = *(u32 *)(r1 + 4)\ncall f\nexit\nf:\nr0 = *(u32 *)(r1 + 4)\nexit");
  ASSERT_TRUE(function);
  expect_fault(*function, 4, kSize + 4, 4, false);
}

TEST_P(MovedPackets, TheContextsBounds) {
  for (const auto& [access, offset, size, write] : {std::tuple{"r0 = *(u64 *)(r1 + 0)", 0, 8, false},
                                                    {"r0 = *(u16 *)(r1 + 0)", 0, 2, false},
                                                    {"r0 = *(u32 *)(r1 + 24)", 24, 4, false},
                                                    {"*(u32 *)(r1 + 0) = 1", 0, 4, true}}) {
    const auto program = load(std::string("r0 = *(u32 *)(r1 + 0)\n") + access + "\nexit");
    ASSERT_TRUE(program);
    EXPECT_TRUE(run(*program).faulted) << access;
    const vm::Fault& fault = machine_->cpu(0).fault();
    EXPECT_EQ(fault.slot, 1U);
    EXPECT_EQ(fault.address, machine_->cpu(0).context.begin + static_cast<uint64_t>(offset));
    EXPECT_EQ(fault.size, static_cast<uint64_t>(size));
    EXPECT_EQ(fault.write, write);
  }
}

INSTANTIATE_TEST_SUITE_P(Executions, MovedPackets, testing::ValuesIn(checked_executions()),
                         [](const auto& execution) { return name_of(execution.param); });

}  // namespace
}  // namespace skep::test
