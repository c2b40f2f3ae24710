#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "engine_pair.hpp"
#include "fuzz/generated_program.hpp"
#include "vm/pass.hpp"
#include "vm/random.hpp"

// Programs do the same with every pass on, with each alone, and with none.
namespace skep::jit {
namespace {

using vm::Mode;
using vm::Operation;
using vm::PassSet;

std::vector<PassSet> pass_sets() {
  std::vector<PassSet> out{PassSet::all()};
  for (const vm::PassRow& row : vm::kPasses) {
    out.push_back(PassSet::none().with(row.pass));
    out.push_back(PassSet::all().without(row.pass));
  }
  return out;
}

bool has(const vm::Program& program, Operation op) {
  return std::ranges::any_of(program.optimized().instructions, [op](const auto& i) { return i.op == op; });
}

Outcome without_program(Outcome outcome) {
  outcome.program = nullptr;
  return outcome;
}

// The memory: two numbers that the program gets as r2 and r3, and room for what it stores.
struct Shape {
  const char* name;
  const char* text;     // after it, r0 to r5 are stored
  Operation operation;  // what the passes make of it
};

constexpr Shape kShapes[] = {
    {"Rotate64", "r4 = r2\nr4 <<= 13\nr2 >>= 51\nr4 |= r2\nr2 = 0", Operation::kRotate64},
    {"Rotate64OfACopy", "r4 = r2\nr2 <<= 7\nr4 >>= 57\nr2 ^= r4\nr4 = 0", Operation::kRotate64},
    {"Rotate32", "w4 = w2\nw4 <<= 15\nw2 >>= 17\nw4 |= w2\nr2 = 0", Operation::kRotate32},
    {"ThreeOperands", "r4 = r2\nr4 ^= r3", Operation::kXor64Reg3},
    {"ThreeOperands32", "w4 = w2\nw4 -= w3", Operation::kSub32Reg3},
    {"Product", "r4 = r2\nr4 *= 31", Operation::kMul64Imm3},
    {"ShiftByRegister", "r4 = r2\nr4 s>>= r3", Operation::kArsh64Reg3},
    {"Sum", "r4 = r2\nr4 += r3\nr4 += -8", Operation::kAddress64},
    {"ScaledSum", "r4 = r2\nr4 <<= 3\nr4 += r3", Operation::kAddress64},
    {"Sum32", "w4 = w2\nw4 += w3\nw4 += 5", Operation::kAddress32},
    {"IndexedLoad", "r3 &= 7\nr4 = r1\nr4 += r3\nr4 = *(u16 *)(r4 + 1)", Operation::kLdxIndexed16},
    {"ScaledLoad", "r3 &= 1\nr3 <<= 3\nr4 = r1\nr4 += r3\nr4 = *(u64 *)(r4 + 0)\nr3 = 0",
     Operation::kLdxIndexed64},
    {"SignedLoad", "r3 &= 7\nr4 = r1\nr4 += r3\nr4 = *(s8 *)(r4 + 0)", Operation::kLdsxIndexed8},
    {"IndexedStore", "r3 &= 7\nr4 = r1\nr4 += r3\n*(u32 *)(r4 + 64) = r2\nr4 = 0", Operation::kStxIndexed32},
    {"IndexedStoreOfANumber", "r3 &= 7\nr4 = r1\nr4 += r3\n*(u8 *)(r4 + 64) = 77\nr4 = 0",
     Operation::kStIndexed8},
    {"SwappedLoad16", "r4 = *(u16 *)(r1 + 2)\nr4 = be16 r4", Operation::kLdxSwapped16},
    {"SwappedLoad32", "r4 = *(u32 *)(r1 + 1)\nr4 = be32 r4", Operation::kLdxSwapped32},
    {"SwappedLoad64", "r4 = *(u64 *)(r1 + 0)\nr4 = bswap64 r4", Operation::kLdxSwapped64},
    {"SwappedStore16", "r4 = r2\nr4 = be16 r4\n*(u16 *)(r1 + 72) = r4\nr4 = 0", Operation::kStxSwapped16},
    {"SwappedStore64", "r4 = r2\nr4 = be64 r4\n*(u64 *)(r1 + 72) = r4\nr4 = 0", Operation::kStxSwapped64},
    {"TestOfABit", "r4 = r2\nr4 &= 1\nif r4 == 0 goto l\nr0 = 5\nr5 = 6\nl:\nr4 = 0",
     Operation::kJclear64Imm},
    {"TestOfTheTopBits", "r4 = r2\nr4 &= -65536\nif r4 != 0 goto l\nr0 = 5\nr5 = 6\nl:\nr4 = 0",
     Operation::kJset64Imm},
    {"TestOfRegisters", "r4 = r2\nw4 &= w3\nif w4 == 0 goto l\nr0 = 5\nr5 = 6\nl:\nr4 = 0",
     Operation::kJclear32Reg},
    {"SelectOfARegister", "if r2 > r3 goto l\nr4 = r5\nl:", Operation::kSelectLe64Reg},
    {"SelectOfANumber", "if w2 s< 9 goto l\nr4 = -3\nl:", Operation::kSelectSge32Imm},
};

std::string whole(const Shape& shape) {
  std::string text = "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr0 = 1\nr4 = 4\nr5 = 5\n";
  text += shape.text;
  text += "\n";
  for (const char* store : {"+ 16) = r0", "+ 24) = r2", "+ 32) = r3", "+ 40) = r4", "+ 48) = r5"})
    text += std::string("*(u64 *)(r1 ") + store + "\n";
  return text + "exit";
}

class Shapes : public testing::TestWithParam<Shape> {};

TEST_P(Shapes, BecomeOneOperationThatDoesTheSame) {
  EnginePair pair;
  const std::string text = whole(GetParam());
  const auto plain = pair.load(text, PassSet::none());
  EXPECT_FALSE(has(*plain, GetParam().operation));
  EXPECT_TRUE(has(*pair.load(text), GetParam().operation));
  vm::Random random(3);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::byte> memory(96);
    for (size_t n = 0; n < 16; ++n) memory[n] = static_cast<std::byte>(random.next());
    if (round % 3 == 0) std::fill_n(memory.begin(), 12, std::byte{0});
    pair.set_memory(memory);
    for (const Mode mode : kModes) {
      const Outcome expected = without_program(pair.run(*plain, vm::EngineKind::kInterpreter, mode));
      ASSERT_FALSE(expected.faulted);
      for (const PassSet passes : pass_sets())
        EXPECT_EQ(without_program(pair.run_both(*pair.load(text, passes), mode)), expected);
    }
  }
}

TEST_P(Shapes, WithoutBmi2AndMovbe) {
  EnginePair pair({}, {.use_bmi2 = false, .use_movbe = false});
  std::vector<std::byte> memory(96);
  for (size_t n = 0; n < 16; ++n) memory[n] = static_cast<std::byte>(0xa3 + n * 29);
  pair.set_memory(memory);
  const Outcome expected =
      pair.run(*pair.load(whole(GetParam()), PassSet::none()), vm::EngineKind::kInterpreter, Mode::kVerified);
  EXPECT_EQ(without_program(pair.run_both(*pair.load(whole(GetParam())), Mode::kVerified)),
            without_program(expected));
}

INSTANTIATE_TEST_SUITE_P(Passes, Shapes, testing::ValuesIn(kShapes),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Passes, ZeroExtensionsOfZeroExtendedValuesGo) {
  EnginePair pair;
  const char* text = "r0 = *(u32 *)(r1 + 0)\nagain:\nw0 += 1\nw0 = w0\nif r0 < 9 goto again\nexit";
  const PassSet alone = PassSet::none().with(vm::Pass::kZeroExtension);
  EXPECT_EQ(pair.load(text, PassSet::none())->optimized().instructions.size(), 5u);
  EXPECT_EQ(pair.load(text, alone)->optimized().instructions.size(), 4u);
  // What comes in by the other way round the loop is not known.
  const char* wide = "r0 = *(u64 *)(r1 + 0)\nagain:\nw0 = w0\nr0 += 1\nif r0 < 9 goto again\nexit";
  EXPECT_EQ(pair.load(wide, alone)->optimized().instructions.size(), 5u);
}

TEST(Passes, WhatNobodyReadsGoes) {
  EnginePair pair;
  EXPECT_EQ(pair.load("r3 = 7\nr3 += 1\nr0 = 1\nexit")->optimized().instructions.size(), 3u);
  // A load may fault: it stays.
  EXPECT_TRUE(pair.run_both("r2 = *(u64 *)(r1 + 4096)\nr0 = 0\nexit").faulted);
}

TEST(Passes, FoldNothingThatIsStillRead) {
  EnginePair pair;
  for (const char* text : {
           "r2 = r1\nr2 += 8\nr3 = *(u64 *)(r2 + 0)\nr0 = r2\nr0 -= r1\nexit",
           "r2 = 3\nr4 = r2\nr4 <<= 13\nr2 >>= 51\nr4 |= r2\nr0 = r2\nr0 += r4\nexit",
           "r2 = 6\nr3 = r2\nr3 &= 4\nif r3 == 0 goto l\nr0 = r3\nexit\nl:\nr0 = 9\nexit",
           "r2 = 6\nr3 = r2\nr2 = 9\nr3 += r2\nr0 = r3\nexit",
       })
    EXPECT_EQ(pair.run_both(text).r0,
              pair.run(*pair.load(text, PassSet::none()), vm::EngineKind::kInterpreter).r0)
        << text;
}

TEST(Passes, RandomProgramsDoTheSame) {
  EnginePair pair;
  const std::vector<PassSet> sets = pass_sets();
  for (uint64_t seed = 500'000; seed < 500'500; ++seed) {
    SCOPED_TRACE(seed);
    const auto instructions = fuzz::generated_program(seed, {});
    const Outcome expected = without_program(pair.run(*pair.load(instructions, PassSet::none()),
                                                      vm::EngineKind::kInterpreter, Mode::kChecked, 2000));
    for (const PassSet passes : {sets.front(), sets[1 + seed % (sets.size() - 1)]})
      EXPECT_EQ(without_program(pair.run_both(*pair.load(instructions, passes), Mode::kChecked, 2000)),
                expected);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace skep::jit
