#include <gtest/gtest.h>

#include <string>

#include "engine_pair.hpp"
#include "vm/engine.hpp"

// The short way in, Executable::entry(), beside the general one.
namespace skep::jit {
namespace {

using vm::EngineKind;
using vm::Mode;

// Calls entry(r1, r2, cpu) with known values in the registers that a function preserves; returns r0, or ~0
// when one of them has changed.
__attribute__((naked, noinline)) uint64_t enter_and_compare(uint64_t /*r1*/, uint64_t /*r2*/,
                                                            vm::Cpu& /*cpu*/, vm::EntryFunction /*entry*/) {
  asm("push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n sub $8, %rsp\n"
      "mov $0x101, %ebx\n mov $0x102, %ebp\n mov $0x103, %r12d\n mov $0x104, %r13d\n mov $0x105, %r14d\n"
      "mov $0x106, %r15d\n"
      "call *%rcx\n"
      "cmp $0x101, %rbx\n jne 1f\n cmp $0x102, %rbp\n jne 1f\n cmp $0x103, %r12\n jne 1f\n"
      "cmp $0x104, %r13\n jne 1f\n cmp $0x105, %r14\n jne 1f\n cmp $0x106, %r15\n je 2f\n"
      "1: mov $-1, %rax\n"
      "2: add $8, %rsp\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret");
}

__attribute__((noinline)) uint64_t misalignment(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu&) {
  return (reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) + 16) % 16;
}

__attribute__((noinline)) uint64_t sum(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, vm::Cpu&) {
  return a + b + c + d + e;
}

class Entry : public testing::Test {
 protected:
  // In both modes, with r1 = 7 and r2 = 35.
  void expect_result(const std::string& text, uint64_t r0, bool faults = false) {
    const auto program = pair_.load(text);
    ASSERT_NE(program, nullptr);
    for (const Mode mode : kModes) {
      if (faults && mode == Mode::kVerified) continue;
      pair_.run(*pair_.load("exit"), EngineKind::kInterpreter, mode);  // makes the CPU ready
      const vm::EntryFunction entry = program->executable(EngineKind::kJit, mode).entry();
      ASSERT_NE(entry, nullptr);
      pair_.cpu().run().program = program.get();
      EXPECT_EQ(enter_and_compare(7, 35, pair_.cpu(), entry), r0) << text;
      EXPECT_EQ(pair_.cpu().stopped(), faults);
    }
  }
  EnginePair pair_{{{.id = 1, .name = "misalignment", .function = misalignment},
                    {.id = 2, .name = "sum", .function = sum}}};
};

TEST_F(Entry, PassesTwoArguments) {
  expect_result("r0 = r1\nr0 += r2\nexit", 42);
  expect_result("r0 = 0\nexit", 0);
}

// Whatever the caller left in the registers of r3 to r5.
TEST_F(Entry, CheckedHelpersSeeZeroInWhatTheProgramDoesNotSet) {
  const auto program = pair_.load("call 2\nexit");
  ASSERT_NE(program, nullptr);
  pair_.run(*program, EngineKind::kInterpreter);
  const vm::EntryFunction entry = program->executable(EngineKind::kJit, Mode::kChecked).entry();
  EXPECT_EQ(enter_and_compare(7, 35, pair_.cpu(), entry), 42u);
}

TEST_F(Entry, PreservesWhatTheProgramChanges) {
  expect_result("r6 = 1\nr0 = r6\nexit", 1);
  expect_result("r9 = 1\nr8 = 2\nr0 = r9\nexit", 1);
  expect_result("r6 = 1\nr7 = 2\nr8 = 3\nr9 = 4\ncall 1\nr0 += r9\nexit", 4);
  expect_result("*(u64 *)(r10 - 8) = 9\nr0 = *(u64 *)(r10 - 8)\nexit", 9);
  // A function that changes what the program's first does not name.
  expect_result("call f\nexit\nf:\nr7 = 5\nr0 = r7\nexit", 5);
  expect_result("r6 = 3\ncall f\nr0 += r6\nexit\nf:\ncall g\nexit\ng:\nr6 = 9\nr9 = 9\nr0 = 1\nexit", 4);
}

TEST_F(Entry, AlignsTheStack) {
  for (const char* more : {"", "r6 = 1\n", "r6 = 1\nr7 = 2\n", "*(u64 *)(r10 - 8) = 9\n", "may_goto +0\n"}) {
    expect_result(std::string(more) + "call 1\nexit", 0);
    expect_result(std::string(more) + "call f\nexit\nf:\nr6 = 1\ncall 1\nexit", 0);
    expect_result(std::string(more) + "call f\nr0 += r6\nr0 -= r6\nexit\nf:\nr6 = 1\ncall 1\nexit", 0);
  }
}

TEST_F(Entry, AFaultLeavesThroughIt) {
  expect_result("r6 = 1\ncall f\nexit\nf:\nr9 = 1\nr0 = *(u64 *)(r9 + 0)\nexit", 0, true);
  expect_result("r6 = 1\nagain:\ngoto again", 0, true);
}

}  // namespace
}  // namespace skep::jit
