#include <fmt/format.h>
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

std::vector<vm::LoweredInstruction> operations(const vm::Program& program, Mode mode = Mode::kChecked) {
  return program.optimized(mode).instructions;
}

bool has(const vm::Program& program, Operation op, Mode mode = Mode::kChecked) {
  return std::ranges::any_of(operations(program, mode), [op](const auto& i) { return i.op == op; });
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
    {"Quotient32", "w4 = w2\nw4 /= 10", Operation::kDivBy32},
    {"QuotientByALongMultiplier32", "w4 = w2\nw4 /= 7", Operation::kDivBy32},
    {"QuotientByALargeNumber32", "w4 = w2\nw4 /= -5", Operation::kDivBy32},
    {"Remainder32", "w4 = w2\nw4 %= 1000", Operation::kModBy32},
    {"Quotient64", "r4 = r2\nr4 /= 10", Operation::kDivBy64},
    {"QuotientByALongMultiplier64", "r4 = r2\nr4 /= 7", Operation::kDivBy64},
    {"Remainder64", "r4 = r2\nr4 %= 1000000007", Operation::kModBy64},
    {"RemainderInR3", "r3 %= 12345", Operation::kModBy64},
    {"QuotientInR0", "r0 = r3\nr0 /= 641", Operation::kDivBy64},
    {"SignedQuotient32", "w4 = w2\nw4 s/= -10", Operation::kSdivBy32},
    {"SignedRemainder32", "w4 = w2\nw4 s%= 8", Operation::kSmodBy32},
    {"SignedQuotient64", "r4 = r2\nr4 s/= 7", Operation::kSdivBy64},
    {"SignedRemainder64", "r4 = r2\nr4 s%= -1000", Operation::kSmodBy64},
    {"QuotientOfAShift", "r2 /= 4096", Operation::kRsh64Imm},
    {"RemainderOfAMask", "w2 %= 1024", Operation::kAnd32Imm},
    {"QuotientByMinusOne", "r2 s/= -1", Operation::kNeg64},
    {"KnownOperand", "r4 = 12\nr2 *= r4", Operation::kMul64Imm},
    {"KnownComparison", "r4 = 12\nif r4 > r2 goto l\nr0 = 7\nr5 = 8\nl:\nr4 = 0", Operation::kJlt64Imm},
    {"SelectByAClearBit", "if r2 & 1 goto l\nr4 = r5\nl:", Operation::kSelectClear64Imm},
    {"SelectByClearBits", "if w2 & w3 goto l\nr4 = 9\nl:", Operation::kSelectClear32Reg},
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
  EXPECT_EQ(pair.load(text, PassSet::none())->optimized(Mode::kChecked).instructions.size(), 5u);
  EXPECT_EQ(pair.load(text, alone)->optimized(Mode::kChecked).instructions.size(), 4u);
  // What comes in by the other way round the loop is not known.
  const char* wide = "r0 = *(u64 *)(r1 + 0)\nagain:\nw0 = w0\nr0 += 1\nif r0 < 9 goto again\nexit";
  EXPECT_EQ(pair.load(wide, alone)->optimized(Mode::kChecked).instructions.size(), 5u);
}

TEST(Passes, KnownResultsAreNumbers) {
  EnginePair pair;
  const PassSet passes = PassSet::none().with(vm::Pass::kConstantFolding).with(vm::Pass::kDeadCode);
  const auto sizes = [&](const char* text) { return operations(*pair.load(text, passes)).size(); };
  EXPECT_EQ(sizes("r1 = 6\nr0 = 7\nr0 *= r1\nr0 s%= -5\nexit"), 2u);
  EXPECT_EQ(sizes("r0 = *(u8 *)(r1 + 0)\nr0 ^= r0\nexit"), 3u);
  // What both ways say is known where they meet.
  EXPECT_EQ(sizes("r0 = 1\nif r1 == 0 goto l\nr0 = 1\nl:\nr0 += 1\nexit"), 3u);
  EXPECT_EQ(sizes("r0 = 1\nif r1 == 0 goto l\nr0 = 2\nl:\nr0 += 1\nexit"), 5u);
  // Not what a loop changes.
  EXPECT_EQ(sizes("r0 = 0\nr2 = 3\nl:\nr0 += r2\nif r0 != 9 goto l\nexit"), 4u);
  EXPECT_EQ(pair.run_both("r0 = 0\nr2 = 3\nl:\nr0 += r2\nif r0 != 9 goto l\nexit").r0, 9u);
}

TEST(Passes, KnownJumpsAreDecided) {
  EnginePair pair;
  const char* text = "r2 = 5\nif r2 > 4 goto l\nr0 = 1\nexit\nl:\nr0 = 2\nif r2 s< -1 goto l\nexit";
  EXPECT_EQ(operations(*pair.load(text)).size(), 2u);
  EXPECT_EQ(pair.run_both(text).r0, 2u);
}

// Always taken, a jump costs what it cost; never taken, nothing.
TEST(Passes, DecidedJumpsCostTheSame) {
  EnginePair pair;
  const char* text = "r0 = 0\nr2 = 1\nl:\nr0 += 1\nif r2 == 2 goto l\nif r2 == 1 goto l\nexit";
  const Outcome expected =
      pair.run(*pair.load(text, PassSet::none()), vm::EngineKind::kInterpreter, Mode::kChecked, 1000);
  EXPECT_EQ(expected.kind, vm::FaultKind::kFuel);
  EXPECT_EQ(expected.slot, 4u);
  EXPECT_EQ(without_program(pair.run_both(*pair.load(text), Mode::kChecked, 1000)),
            without_program(expected));
}

// What the program does with all passes it does without any, down to the fuel; returns r0.
uint64_t expect_same_cost(const std::string& text) {
  EnginePair pair;
  const Outcome expected = pair.run(*pair.load(text, PassSet::none()), vm::EngineKind::kInterpreter);
  EXPECT_EQ(without_program(pair.run_both(*pair.load(text))), without_program(expected)) << text;
  return expected.r0;
}

// A jump back to a goto that leads forward again goes nowhere, for its fuel.
TEST(Passes, JumpsThatNoLongerLeadBackCostTheSame) {
  EXPECT_EQ(expect_same_cost("r0 = 0\nl:\ngoto second\nfirst:\ngoto third\nsecond:\ngoto first\nthird:\n"
                             "r0 += 1\nif r0 < 20 goto l\nexit"),
            20u);
}

// The same of a condition, over a move that could be made without a jump, and over a goto. Whether it is met
// depends on r2, the length of the memory.
TEST(Passes, ConditionsThatNoLongerLeadBackCostTheSame) {
  for (const std::string condition : {"if r2 == 0", "if r2 != 0"}) {
    expect_same_cost("r0 = 1\ngoto again\nskip:\ngoto end\nagain:\n" + condition +
                     " goto skip\nr0 = 7\nend:\nexit");
    expect_same_cost("r0 = 1\ngoto again\nskip:\ngoto next\nagain:\n" + condition +
                     " goto skip\ngoto end\nnext:\nr0 += 2\nend:\nr0 += 1\nexit");
  }
}

// Facts travel up a chain of backward jumps a jump a sweep; the passes do not follow them all.
TEST(Passes, CodeThatSettlesLate) {
  std::string text = "r0 = *(u8 *)(r1 + 0)\nr2 = 1\nr3 = 5\ngoto l3000\nl0:\nr0 += r3\nr0 += r2\nexit\n";
  for (int n = 1; n <= 3000; ++n) text += fmt::format("l{}:\nr2 += 1\nif r0 != 300 goto l{}\n", n, n - 1);
  text += "exit";
  EnginePair pair;
  pair.set_memory(std::vector<std::byte>(8, std::byte{7}));
  for (const PassSet passes : pass_sets())
    EXPECT_EQ(pair.run_both(*pair.load(text, passes), Mode::kVerified).r0, 7u + 5 + 3001);
}

TEST(Passes, JumpsOverAGotoAreOne) {
  EnginePair pair;
  const char* text = "r0 = *(u8 *)(r1 + 0)\nl:\nr0 += 3\nif r0 > 100 goto out\ngoto l\nout:\nexit";
  for (const Mode mode : kModes) {
    const auto code = operations(*pair.load(text), mode);
    ASSERT_EQ(code.size(), 4u);
    EXPECT_EQ(code[2].op, Operation::kJle64Imm);
    EXPECT_EQ(code[2].target, 1u);
  }
  const Outcome expected =
      pair.run(*pair.load(text, PassSet::none()), vm::EngineKind::kInterpreter, Mode::kChecked, 20);
  EXPECT_EQ(expected.kind, vm::FaultKind::kFuel);
  EXPECT_EQ(expected.slot, 3u);
  EXPECT_EQ(without_program(pair.run_both(*pair.load(text), Mode::kChecked, 20)), without_program(expected));
}

TEST(Passes, JumpsToAGotoGoOn) {
  EnginePair pair;
  const char* text =
      "r0 = 1\nif r1 == 0 goto a\nr0 = 2\nif r1 == 1 goto b\nr0 = 3\na:\ngoto b\nr0 = 9\nb:\nr0 += r1\nexit";
  const auto code = operations(*pair.load(text, PassSet::none().with(vm::Pass::kJumps)));
  EXPECT_EQ(code[1].target, code[3].target);
  EXPECT_EQ(code[code[1].target].op, Operation::kAdd64Reg);
  pair.run_both(text);
}

constexpr const char* kCalls =
    "r6 = *(u64 *)(r1 + 0)\nr7 = 5\nr2 = r6\nr1 = 3\ncall add\nr6 += r0\nr1 = r6\nr2 = r7\ncall store\n"
    "r0 ^= r6\nexit\n"
    "add:\nif r1 > r2 goto l\nr0 = r1\nr0 += r2\nexit\nl:\nr0 = r1\nr0 *= 7\nexit\n"
    "store:\n*(u64 *)(r10 - 8) = r1\nr3 = r10\nr3 += -16\n*(u64 *)(r3 + 0) = r2\n"
    "r0 = *(u64 *)(r10 - 16)\nr1 = *(u64 *)(r10 - 8)\nr0 -= r1\nexit";

TEST(Passes, SmallFunctionsAreInlinedInVerifiedMode) {
  EnginePair pair;
  const auto program = pair.load(kCalls);
  EXPECT_FALSE(has(*program, Operation::kCallLocal, Mode::kVerified));
  EXPECT_TRUE(has(*program, Operation::kCallLocal, Mode::kChecked));
  for (const uint64_t low : {1, 9}) {
    pair.set_memory(std::vector<std::byte>(8, static_cast<std::byte>(low)));
    const uint64_t number = low * 0x0101010101010101;
    const uint64_t r6 = number + number + 3;
    for (const Mode mode : kModes)
      for (const PassSet passes : pass_sets())
        EXPECT_EQ(pair.run_both(*pair.load(kCalls, passes), mode).r0, (5 - r6) ^ r6);
  }
}

TEST(Passes, FunctionsThatChangeWhatTheCallerKeepsAreNotInlined) {
  EnginePair pair;
  const char* text = "r6 = 7\ncall f\nr0 += r6\nexit\nf:\nr6 = 4\nr0 = r6\nr0 += 1\nexit";
  EXPECT_TRUE(has(*pair.load(text), Operation::kCallLocal, Mode::kVerified));
  EXPECT_EQ(pair.run_both(text, Mode::kVerified).r0, 12u);
  // Where the caller does not look at it any more they are.
  const char* dead = "r6 = 7\ncall f\nexit\nf:\nr6 = 4\nr0 = r6\nr0 += 1\nexit";
  EXPECT_FALSE(has(*pair.load(dead), Operation::kCallLocal, Mode::kVerified));
  EXPECT_EQ(pair.run_both(dead, Mode::kVerified).r0, 5u);
}

TEST(Passes, FunctionsOfFunctionsAreInlined) {
  EnginePair pair;
  const char* text = "r1 = 5\ncall f\nexit\nf:\nr1 += 1\ncall g\nr0 += 1\nexit\ng:\nr0 = r1\nr0 *= 3\nexit";
  EXPECT_FALSE(has(*pair.load(text), Operation::kCallLocal, Mode::kVerified));
  EXPECT_EQ(pair.run_both(text, Mode::kVerified).r0, 19u);
  // Never a function that calls itself.
  const char* recursive =
      "r1 = 5\ncall f\nexit\nf:\nif r1 == 0 goto out\nr1 += -1\ncall f\nexit\nout:\nr0 = 8\nexit";
  EXPECT_TRUE(has(*pair.load(recursive), Operation::kCallLocal, Mode::kVerified));
  EXPECT_EQ(pair.run_both(recursive, Mode::kVerified).r0, 8u);
}

TEST(Passes, WhatNobodyReadsGoes) {
  EnginePair pair;
  const auto program = pair.load("r3 = r1\nr3 += 1\nr4 = 7\nr0 = 1\nexit");
  EXPECT_EQ(program->optimized(Mode::kChecked).instructions.size(), 2u);
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

// A checked run tells which programs are fit for verified mode. Functions are inlined there.
TEST(Passes, RandomProgramsDoTheSameInVerifiedMode) {
  EnginePair pair;
  const std::vector<PassSet> sets = pass_sets();
  const fuzz::GeneratorOptions options{.length = 12, .functions = 5, .initialised = true};
  pair.set_memory(std::vector<std::byte>(options.memory_size, std::byte{0x5a}));
  unsigned inlined = 0;
  for (uint64_t seed = 600'000; seed < 602'000; ++seed) {
    SCOPED_TRACE(seed);
    const auto instructions = fuzz::generated_program(seed, options);
    const auto plain = pair.load(instructions, PassSet::none());
    if (pair.run(*plain, vm::EngineKind::kInterpreter, Mode::kChecked, 2000).faulted) continue;
    const Outcome expected = without_program(pair.run(*plain, vm::EngineKind::kInterpreter, Mode::kVerified));
    for (const PassSet passes : {sets.front(), sets[1 + seed % (sets.size() - 1)]})
      EXPECT_EQ(without_program(pair.run_both(*pair.load(instructions, passes), Mode::kVerified)), expected);
    const auto calls = [&](PassSet passes) {
      return std::ranges::count(operations(*pair.load(instructions, passes), Mode::kVerified),
                                Operation::kCallLocal, &vm::LoweredInstruction::op);
    };
    if (calls(PassSet::none().with(vm::Pass::kInlining)) < calls(PassSet::none())) ++inlined;
    if (HasFailure()) break;
  }
  EXPECT_GT(inlined, 20u);
}

}  // namespace
}  // namespace skep::jit
