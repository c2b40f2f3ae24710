#include "isa/evaluate.hpp"

#include <gtest/gtest.h>

namespace skep::isa {
namespace {

TEST(Evaluate, ArithmeticOfTheInstructionsWidth) {
  EXPECT_EQ(evaluate(Op::kAdd64Imm, 0xffffffff, 1), 0x100000000U);
  EXPECT_EQ(evaluate(Op::kAdd32Imm, 0xffffffff, 1), 0U);
  EXPECT_EQ(evaluate(Op::kSub32Reg, 0, 1), 0xffffffffU);
  EXPECT_EQ(evaluate(Op::kDiv64Reg, 7, 0), 0U);
  EXPECT_EQ(evaluate(Op::kMod64Reg, 7, 0), 7U);
  EXPECT_EQ(evaluate(Op::kNeg64, 1, 0), ~uint64_t{0});
  EXPECT_EQ(evaluate(Op::kMovsx8To64, 9, 0x80), ~uint64_t{0x7f});
  EXPECT_EQ(evaluate(Op::kBe16, 0x11223344, 0), 0x4433U);
  EXPECT_EQ(evaluate(Op::kArsh32Imm, 0x80000000, 31), 0xffffffffU);
}

TEST(Evaluate, JumpsOfTheInstructionsWidth) {
  EXPECT_TRUE(is_taken(Op::kJgt64Imm, 0x100000000, 5));
  EXPECT_FALSE(is_taken(Op::kJgt32Imm, 0x100000000, 5));
  EXPECT_TRUE(is_taken(Op::kJslt64Reg, ~uint64_t{0}, 0));
  EXPECT_FALSE(is_taken(Op::kJlt64Reg, ~uint64_t{0}, 0));
  EXPECT_TRUE(is_taken(Op::kJset32Imm, 6, 2));
}

}  // namespace
}  // namespace skep::isa
