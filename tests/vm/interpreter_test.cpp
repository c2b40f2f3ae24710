#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

#include "vm_fixture.hpp"

// Handlers go on to one another without growing the native stack, whatever the build makes of that.
namespace skep::test {
namespace {

constexpr const char* kInstructions[] = {
    "r2 += 3",
    "r2 += r3",
    "w2 += 3",
    "w2 += w3",
    "r2 -= r3",
    "r2 *= 5",
    "r2 *= r3",
    "w2 *= w3",
    "r2 /= r3",
    "r2 s%= 3",
    "r2 |= r3",
    "w2 |= w3",
    "r2 &= 7",
    "w2 &= 7",
    "r2 ^= r3",
    "w2 ^= w3",
    "r2 <<= 3",
    "w2 <<= 3",
    "r2 >>= 3",
    "w2 >>= 3",
    "r2 s>>= r3",
    "r2 = -r2",
    "r2 = be32 r2",
    "r3 = r2",
    "w3 = w2",
    "r3 = 7",
    "w3 = 9",
    "r3 = 0x123456789 ll",
    "r2 = *(u8 *)(r6 + 0)",
    "r2 = *(u16 *)(r6 + 2)",
    "r2 = *(u32 *)(r6 + 4)",
    "r2 = *(u64 *)(r6 + 8)",
    "r2 = *(s8 *)(r6 + 8)",
    "r2 = *(u64 *)(r7 + 0)",
    "r2 = *(u64 *)(r10 - 8)",
    "*(u8 *)(r6 + 0) = r2",
    "*(u32 *)(r6 + 4) = r2",
    "*(u64 *)(r6 + 8) = r2",
    "*(u64 *)(r6 + 8) = 1",
    "*(u64 *)(r10 - 8) = r2",
    "lock *(u64 *)(r6 + 8) += r2",
    "r2 = atomic_fetch_or((u64 *)(r6 + 8), r2)",
    "if r2 == 1 goto +0",
    "if w2 == 1 goto +0",
    "if r2 != r3 goto +0",
    "if w2 != w3 goto +0",
    "if r2 < r3 goto +0",
    "if r2 >= 5 goto +0",
    "if r2 & 8 goto +0",
    "goto +0",
    "may_goto +0",
    "call f",
    "r8 = r2\ncall 60001\nr3 = 1",
};

class NativeStack : public testing::Test {
 protected:
  NativeStack() {
    machine_->helpers().put_custom(60000, "note", [this](std::span<const uint64_t, 5>, vm::Cpu&) -> uint64_t {
      frame_ = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
      return 0;
    });
    machine_->helpers().put_custom(60001, "nothing",
                                   [](std::span<const uint64_t, 5>, vm::Cpu&) -> uint64_t { return 0; });
  }

  // Where the native stack ends after so many rounds of a loop.
  uintptr_t end_after(unsigned rounds, const std::string& body, vm::Mode mode) {
    const std::string text =
        "r6 = r1\nr7 = r10\nr7 += -64\n*(u64 *)(r7 + 0) = 1\n*(u64 *)(r10 - 8) = 2\n"
        "r2 = 1\nr3 = 1\nr9 = " +
        std::to_string(rounds) + "\nagain:\n" + body +
        "\nr9 += -1\nif r9 != 0 goto again\ncall 60000\nexit\nf:\nr0 = 1\nexit\n";
    const auto program = make_program(*machine_, text);
    if (!program) return 0;
    std::array<std::byte, 64> memory{};
    frame_ = 0;
    const auto result =
        vm::run_raw(machine_->cpu(0), *program, memory, {vm::EngineKind::kInterpreter, mode, 100000});
    EXPECT_FALSE(result.faulted) << body << ": " << vm::describe(machine_->cpu(0).fault());
    EXPECT_NE(frame_, 0u);
    return frame_;
  }

  std::unique_ptr<vm::Machine> machine_ = make_machine();
  uintptr_t frame_ = 0;
};

TEST_F(NativeStack, DoesNotGrowOverAnyTwoInstructions) {
  for (const vm::Mode mode : {vm::Mode::kVerified, vm::Mode::kChecked}) {
    for (const std::string first : kInstructions) {
      for (const std::string second : kInstructions) {
        const std::string body = first + "\n" + second;
        EXPECT_EQ(end_after(1, body, mode), end_after(9, body, mode)) << body;
      }
    }
  }
}

}  // namespace
}  // namespace skep::test
