#include <gtest/gtest.h>

#include <array>
#include <string>

#include "engine_pair.hpp"

namespace skep::jit {
namespace {

using vm::FaultKind;
using vm::Mode;
using enum vm::Argument;

constexpr std::array<vm::Argument, 5> kAnyFive{kAnything, kAnything, kAnything, kAnything, kAnything};

uint64_t digits(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, vm::Cpu&) {
  return a * 10000 + b * 1000 + c * 100 + d * 10 + e;
}

// Spoils what a callee may: all that generated code counts on has to be in preserved registers.
uint64_t spoil(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu&) {
  asm volatile(
      "mov $-1, %%rcx\n mov $-1, %%rdx\n mov $-1, %%rsi\n mov $-1, %%rdi\n mov $-1, %%r8\n"
      "mov $-1, %%r9\n mov $-1, %%r10\n mov $-1, %%r11" ::
          : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
  return 1;
}

// The System V ABI: 16 bytes, before the call pushes the return address.
__attribute__((noinline)) uint64_t misalignment(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu&) {
  return (reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) + 16) % 16;
}

uint64_t call_times(uint64_t callback, uint64_t times, uint64_t context, uint64_t, uint64_t, vm::Cpu& cpu) {
  uint64_t sum = 0;
  for (uint64_t n = 0; n < times; ++n) {
    sum += cpu.call_back(callback, {n, context, 0, 0, 0});
    if (cpu.stopped()) return 0;
  }
  return sum;
}

uint64_t depth(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return (cpu.frame_top - cpu.stack_begin) / vm::kFrameSize;
}

std::vector<vm::HelperRow> helpers() {
  const auto custom = [](std::span<const uint64_t, 5> a, vm::Cpu&) { return a[0] + a[4]; };
  return {
      {.id = 1, .name = "digits", .arguments = kAnyFive, .function = digits},
      {.id = 2, .name = "spoil", .arguments = kAnyFive, .function = spoil},
      {.id = 3, .name = "misalignment", .arguments = kAnyFive, .function = misalignment},
      {.id = 4, .name = "call_times", .arguments = {kCallback, kAnything, kAnything}, .function = call_times},
      {.id = 5, .name = "custom", .arguments = kAnyFive, .custom = custom},
      {.id = 6, .name = "depth", .arguments = {kAnything}, .function = depth},
      {.id = 7, .name = "read", .arguments = {kMemory, kSize}, .function = digits}};
}

class Calls : public testing::Test {
 protected:
  // In both modes, on both engines.
  void expect_result(std::string_view text, uint64_t r0) {
    for (const Mode mode : kModes) {
      const Outcome out = pair_.run_both(text, mode);
      EXPECT_FALSE(out.faulted) << out;
      EXPECT_EQ(out.r0, r0) << text;
    }
  }
  EnginePair pair_{helpers()};
};

TEST_F(Calls, ArgumentsAndResult) {
  const std::string arguments = "r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\n";
  expect_result(arguments + "call 1\nexit", 12345);
  expect_result(arguments + "call 5\nexit", 6);
  for (const char* reg : {"r0", "r6", "r7", "r8", "r9"})
    expect_result(arguments + reg + " = 1\ncallx " + reg + "\nexit", 12345);
  expect_result("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncallx r5\nexit", 6);
}

TEST_F(Calls, PreservedRegisters) {
  expect_result(
      "r6 = 6\nr7 = 7\nr8 = 8\nr9 = 9\n*(u64 *)(r10 - 8) = 5\ncall 2\nr0 = *(u64 *)(r10 - 8)\n"
      "r0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit",
      35);
  // A local call that uses three, then one, of the four.
  expect_result(
      "r6 = 6\nr7 = 7\nr8 = 8\ncall f\nr0 += r6\nr0 += r7\nr0 += r8\nexit\n"
      "f:\nr6 = 100\nr7 = 100\nr8 = 100\nr9 = 100\nr0 = 1\nexit",
      22);
  expect_result("r9 = 9\ncall f\nr0 += r9\nexit\nf:\nr9 = 100\ncall 3\nexit", 9);
}

TEST_F(Calls, ClobberedRegistersReadAsZero) {
  for (const char* call : {"call 2", "call f", "r0 = *(u8 *)skb[0]"}) {
    const Outcome out =
        pair_.run_both(std::string("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\n") + call +
                       "\nr0 = r1\nr0 |= r2\nr0 |= r3\nr0 |= r4\nr0 |= r5\nexit\nf:\nr1 = 9\nr5 = 9\nexit");
    EXPECT_FALSE(out.faulted);
    EXPECT_EQ(out.r0, 0u) << call;
  }
}

TEST_F(Calls, TheNativeStackIsAligned) {
  expect_result("call 3\nexit", 0);
  expect_result("call f\nexit\nf:\ncall 3\nexit", 0);
  expect_result("r6 = 1\ncall f\nr6 += 1\nexit\nf:\ncall 3\nexit", 0);
  expect_result("r6 = 1\nr7 = 1\ncall f\nexit\nf:\nmay_goto +1\ncall 3\nexit", 0);
  expect_result("r1 = code_addr(f)\nr2 = 3\ncall 4\nexit\nf:\ncall 3\nexit", 0);
}

TEST_F(Calls, EveryFunctionHasItsFrame) {
  expect_result(
      "*(u64 *)(r10 - 8) = 1\ncall f\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nexit\n"
      "f:\n*(u64 *)(r10 - 8) = 40\ncall g\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nexit\n"
      "g:\n*(u64 *)(r10 - 8) = 500\nr0 = *(u64 *)(r10 - 8)\nexit",
      541);
}

TEST_F(Calls, EightFramesAreAllowed) {
  std::string text;
  for (int n = 0; n < 8; ++n)
    text += "f" + std::to_string(n) + ":\n" +
            (n < 7 ? "call f" + std::to_string(n + 1) + "\nr0 += 1\nexit\n" : "r0 = 100\nexit\n");
  expect_result(text, 107);
}

TEST_F(Calls, MayGotoCountsTheTurnsOfEachInvocation) {
  // BPF_MAX_LOOPS turns, then out; the callee has its own count.
  const auto program = pair_.load(
      "r6 = 0\nagain:\nmay_goto out\nr6 += 1\nif r6 == 5 goto call\ngoto again\ncall:\ncall f\nr7 = r0\ngoto "
      "again\n"
      "out:\nr0 = r6\nr0 += r7\nexit\n"
      "f:\nr0 = 0\nturn:\nmay_goto done\nr0 += 1\ngoto turn\ndone:\nexit");
  ASSERT_NE(program, nullptr);
  for (const Mode mode : kModes) {
    const Outcome out = pair_.run(*program, vm::EngineKind::kJit, mode, 1'000'000'000);
    EXPECT_EQ(out.r0, 2u * 8 * 1024 * 1024);
  }
}

TEST_F(Calls, MayGotoStaysUsedUp) {
  const auto program = pair_.load(
      "r6 = 0\nagain:\nmay_goto out\ngoto again\nout:\nr6 += 1\nmay_goto done\nr6 += 100\ndone:\nr0 = "
      "r6\nexit");
  ASSERT_NE(program, nullptr);
  EXPECT_EQ(pair_.run(*program, vm::EngineKind::kJit, Mode::kChecked, 1'000'000'000).r0, 1u);
}

TEST_F(Calls, PacketLoads) {
  pair_.set_memory({std::byte{0x12}, std::byte{0x34}, std::byte{0x56}, std::byte{0x78}, std::byte{0x9a}});
  expect_result("r0 = *(u32 *)skb[1]\nexit", 0x3456789a);
  expect_result("r7 = 2\nr0 = *(u16 *)skb[r7 + 1]\nexit", 0x789a);
  // Outside the packet the function ends with 0.
  expect_result("r0 = *(u32 *)skb[2]\nr0 = 7\nexit", 0);
  expect_result("r6 = 3\ncall f\nr0 += r6\nexit\nf:\nr6 = 100\nr0 = *(u8 *)skb[5]\nr0 = 7\nexit", 3);
}

TEST_F(Calls, Callbacks) {
  const std::string call = "r1 = code_addr(f)\nr2 = 4\nr3 = 10\nr6 = 1000\ncall 4\nr0 += r6\nexit\n";
  expect_result(call + "f:\nr0 = r1\nr0 += r2\nr6 = 5\nr9 = 5\nexit", 1046);
  // Of frames that a callback's own calls leave behind, the next callback sees nothing.
  expect_result(
      "r1 = code_addr(f)\nr2 = 4\ncall 4\nexit\nf:\ncall g\nexit\ng:\nr1 = code_addr(h)\nr2 = 1\ncall 4\n"
      "exit\nh:\nr0 = r10\nexit",
      4 * (pair_.cpu().stack_begin + uint64_t{4} * vm::kFrameSize));
}

TEST_F(Calls, CallbacksSeeFreshRegisters) {
  const Outcome out = pair_.run_both(
      "r6 = 6\nr7 = 7\nr8 = 8\nr9 = 9\nr1 = code_addr(f)\nr2 = 1\ncall 4\nexit\n"
      "f:\nr0 |= r3\nr0 |= r4\nr0 |= r5\nr0 |= r6\nr0 |= r7\nr0 |= r8\nr0 |= r9\nexit");
  EXPECT_FALSE(out.faulted);
  EXPECT_EQ(out.r0, 0u);
}

TEST_F(Calls, NestedCallbacks) {
  expect_result(
      "r1 = code_addr(f)\nr2 = 3\nr6 = 1\ncall 4\nr0 += r6\nexit\n"
      "f:\nr6 = r1\nr6 *= 100\nr1 = code_addr(g)\nr2 = 2\nr3 = r6\ncall 4\nexit\n"
      "g:\nr0 = r1\nr0 += r2\nexit",
      1 + 3 * 1 + 2 * (0 + 100 + 200));
}

TEST_F(Calls, AFaultInACallbackEndsTheRun) {
  // In a function called by a callback of a callback: h begins at slot 16.
  for (const char* bad : {"r0 = *(u64 *)(r0 + 0)", "goto h"}) {
    const Outcome out = pair_.run_both(
        std::string("r6 = 1\nr1 = code_addr(f)\nr2 = 3\ncall 4\nr0 = 1\n*(u64 *)(r10 - 8) = 1\nexit\n"
                    "f:\nr1 = code_addr(g)\nr2 = 2\ncall 4\n*(u64 *)(r10 - 8) = 1\nexit\n"
                    "g:\ncall h\nexit\nh:\n") +
        bad + "\nexit");
    EXPECT_TRUE(out.faulted);
    EXPECT_EQ(out.slot, 16u);
    EXPECT_EQ(out.stack, std::vector<std::byte>(out.stack.size()));
    EXPECT_EQ(pair_.run_both("r0 = 42\nexit").r0, 42u);
  }
}

TEST_F(Calls, CallbacksTakeFrames) {
  const Outcome out = pair_.run_both("f:\nr1 = code_addr(f)\nr2 = 1\ncall 4\nexit");
  EXPECT_EQ(out.kind, FaultKind::kCallDepth);
  EXPECT_EQ(out.slot, 0u);
}

TEST_F(Calls, BadArgumentsFault) {
  const Outcome bad_memory = pair_.run_both("r1 = 64\nr2 = 8\ncall 7\nexit");
  EXPECT_EQ(bad_memory.kind, FaultKind::kMemory);
  EXPECT_EQ(bad_memory.slot, 2u);
  EXPECT_EQ(bad_memory.address, 64u);
  EXPECT_EQ(bad_memory.helper, "read");
  // A callee's frame is there while it runs.
  EXPECT_FALSE(pair_.run_both("call f\nexit\nf:\nr1 = r10\nr1 += -8\nr2 = 8\ncall 7\nexit").faulted);
  EXPECT_EQ(pair_.run_both("call f\nr1 = r10\nr2 = 8\ncall 7\nexit\nf:\ncall 1\nexit").kind,
            FaultKind::kMemory);
  const Outcome unknown = pair_.run_both("r3 = 99\ncallx r3\nr0 = 0\nexit");
  EXPECT_EQ(unknown.kind, FaultKind::kBadCall);
  EXPECT_EQ(unknown.slot, 1u);
  EXPECT_EQ(unknown.address, 99u);
  EXPECT_EQ(pair_.run_both("r3 = 99\ncallx r3\nr0 = 0\nexit", Mode::kVerified).kind, FaultKind::kBadCall);
  EXPECT_EQ(pair_.run_both("r1 = 5\nr2 = 1\ncall 4\nexit").kind, FaultKind::kBadCall);
}

}  // namespace
}  // namespace skep::jit
