#include "isa/arithmetic.hpp"

#include <gtest/gtest.h>

namespace skep::isa {
namespace {

constexpr uint64_t kMin64 = 0x8000000000000000;
constexpr uint64_t kMax64 = 0x7fffffffffffffff;
constexpr uint64_t kOnes64 = 0xffffffffffffffff;
constexpr uint32_t kMin32 = 0x80000000;
constexpr uint32_t kMax32 = 0x7fffffff;
constexpr uint32_t kOnes32 = 0xffffffff;

template <AluOp op>
constexpr uint64_t alu64(uint64_t dst, uint64_t src) {
  return alu<op, uint64_t>(dst, src);
}
template <AluOp op>
constexpr uint32_t alu32(uint32_t dst, uint32_t src) {
  return alu<op, uint32_t>(dst, src);
}

TEST(Arithmetic, AdditionSubtractionAndMultiplicationWrap) {
  EXPECT_EQ(alu64<AluOp::kAdd>(kOnes64, 1), 0U);
  EXPECT_EQ(alu64<AluOp::kAdd>(kMax64, 1), kMin64);
  EXPECT_EQ(alu64<AluOp::kSub>(0, 1), kOnes64);
  EXPECT_EQ(alu64<AluOp::kMul>(0x100000000, 0x100000000), 0U);
  EXPECT_EQ(alu64<AluOp::kMul>(kOnes64, kOnes64), 1U);
  EXPECT_EQ(alu32<AluOp::kAdd>(kOnes32, 1), 0U);
  EXPECT_EQ(alu32<AluOp::kSub>(0, 1), kOnes32);
  EXPECT_EQ(alu32<AluOp::kMul>(0x10001, 0x10001), 0x20001U);
}

TEST(Arithmetic, DivisionAndModuloByZero) {
  EXPECT_EQ(alu64<AluOp::kDiv>(7, 0), 0U);
  EXPECT_EQ(alu64<AluOp::kMod>(7, 0), 7U);
  EXPECT_EQ(alu64<AluOp::kSdiv>(7, 0), 0U);
  EXPECT_EQ(alu64<AluOp::kSmod>(kOnes64, 0), kOnes64);
  EXPECT_EQ(alu32<AluOp::kDiv>(7, 0), 0U);
  EXPECT_EQ(alu32<AluOp::kMod>(7, 0), 7U);
  EXPECT_EQ(alu32<AluOp::kSdiv>(kMin32, 0), 0U);
  EXPECT_EQ(alu32<AluOp::kSmod>(kMin32, 0), kMin32);
}

TEST(Arithmetic, DivisionIsUnsignedUnlessItSaysOtherwise) {
  EXPECT_EQ(alu64<AluOp::kDiv>(kOnes64, 2), kMax64);
  EXPECT_EQ(alu64<AluOp::kMod>(kOnes64, 10), 5U);
  EXPECT_EQ(alu32<AluOp::kDiv>(kOnes32, 2), kMax32);
  EXPECT_EQ(alu32<AluOp::kMod>(kOnes32, 10), 5U);
}

TEST(Arithmetic, SignedDivisionTruncatesTowardsZero) {
  const auto minus = [](uint64_t v) { return uint64_t{0} - v; };
  EXPECT_EQ(alu64<AluOp::kSdiv>(minus(13), 3), minus(4));
  EXPECT_EQ(alu64<AluOp::kSmod>(minus(13), 3), minus(1));
  EXPECT_EQ(alu64<AluOp::kSdiv>(13, minus(3)), minus(4));
  EXPECT_EQ(alu64<AluOp::kSmod>(13, minus(3)), 1U);
  EXPECT_EQ(alu64<AluOp::kSmod>(minus(13), minus(3)), minus(1));
  EXPECT_EQ(alu32<AluOp::kSdiv>(0xfffffff3, 3), 0xfffffffcU);
  EXPECT_EQ(alu32<AluOp::kSmod>(0xfffffff3, 3), 0xffffffffU);
}

TEST(Arithmetic, TheLeastNumberByMinusOne) {
  EXPECT_EQ(alu64<AluOp::kSdiv>(kMin64, kOnes64), kMin64);
  EXPECT_EQ(alu64<AluOp::kSmod>(kMin64, kOnes64), 0U);
  EXPECT_EQ(alu32<AluOp::kSdiv>(kMin32, kOnes32), kMin32);
  EXPECT_EQ(alu32<AluOp::kSmod>(kMin32, kOnes32), 0U);
  EXPECT_EQ(alu64<AluOp::kNeg>(kMin64, 0), kMin64);
  EXPECT_EQ(alu32<AluOp::kNeg>(kMin32, 0), kMin32);
  EXPECT_EQ(alu32<AluOp::kNeg>(1, 0), kOnes32);
}

TEST(Arithmetic, BitwiseOperations) {
  EXPECT_EQ(alu64<AluOp::kOr>(0xf0f0, 0x0ff0), 0xfff0U);
  EXPECT_EQ(alu64<AluOp::kAnd>(0xf0f0, 0x0ff0), 0x00f0U);
  EXPECT_EQ(alu64<AluOp::kXor>(0xf0f0, 0x0ff0), 0xff00U);
  EXPECT_EQ(alu64<AluOp::kMov>(1, 2), 2U);
}

TEST(Arithmetic, ShiftCountsAreTakenModuloTheWidth) {
  EXPECT_EQ(alu64<AluOp::kLsh>(1, 63), kMin64);
  EXPECT_EQ(alu64<AluOp::kLsh>(1, 64), 1U);
  EXPECT_EQ(alu64<AluOp::kLsh>(1, 65), 2U);
  EXPECT_EQ(alu64<AluOp::kLsh>(1, kOnes64), kMin64);
  EXPECT_EQ(alu64<AluOp::kRsh>(kMin64, 63), 1U);
  EXPECT_EQ(alu64<AluOp::kRsh>(kMin64, 255), 1U);
  EXPECT_EQ(alu64<AluOp::kArsh>(kMin64, 63), kOnes64);
  EXPECT_EQ(alu64<AluOp::kArsh>(kMin64, 1), 0xc000000000000000U);
  EXPECT_EQ(alu32<AluOp::kLsh>(1, 31), kMin32);
  EXPECT_EQ(alu32<AluOp::kLsh>(1, 32), 1U);
  EXPECT_EQ(alu32<AluOp::kRsh>(kMin32, 33), 0x40000000U);
  EXPECT_EQ(alu32<AluOp::kArsh>(kMin32, 31), kOnes32);
  EXPECT_EQ(alu32<AluOp::kArsh>(kMax32, 31), 0U);
}

TEST(Arithmetic, SignExtension) {
  EXPECT_EQ(alu64<AluOp::kMovsx8>(0, 0x1280), 0xffffffffffffff80U);
  EXPECT_EQ(alu64<AluOp::kMovsx8>(0, 0x127f), 0x7fU);
  EXPECT_EQ(alu64<AluOp::kMovsx16>(0, 0x128000), 0xffffffffffff8000U);
  EXPECT_EQ(alu64<AluOp::kMovsx32>(0, 0x1280000000), 0xffffffff80000000U);
  EXPECT_EQ(alu32<AluOp::kMovsx8>(0, 0x80), 0xffffff80U);
  EXPECT_EQ(alu32<AluOp::kMovsx16>(0, 0x8000), 0xffff8000U);
}

TEST(Arithmetic, ByteOrder) {
  constexpr uint64_t kValue = 0x0123456789abcdef;
  EXPECT_EQ(alu64<AluOp::kLe16>(kValue, 0), 0xcdefU);
  EXPECT_EQ(alu64<AluOp::kLe32>(kValue, 0), 0x89abcdefU);
  EXPECT_EQ(alu64<AluOp::kLe64>(kValue, 0), kValue);
  EXPECT_EQ(alu64<AluOp::kBe16>(kValue, 0), 0xefcdU);
  EXPECT_EQ(alu64<AluOp::kBe32>(kValue, 0), 0xefcdab89U);
  EXPECT_EQ(alu64<AluOp::kBe64>(kValue, 0), 0xefcdab8967452301U);
  EXPECT_EQ(alu64<AluOp::kBswap16>(kValue, 0), 0xefcdU);
  EXPECT_EQ(alu64<AluOp::kBswap32>(kValue, 0), 0xefcdab89U);
  EXPECT_EQ(alu64<AluOp::kBswap64>(kValue, 0), 0xefcdab8967452301U);
}

template <Condition condition>
constexpr bool holds64(uint64_t dst, uint64_t src) {
  return holds<condition, uint64_t>(dst, src);
}
template <Condition condition>
constexpr bool holds32(uint32_t dst, uint32_t src) {
  return holds<condition, uint32_t>(dst, src);
}

TEST(Conditions, Unsigned) {
  EXPECT_TRUE(holds64<Condition::kEq>(kOnes64, kOnes64));
  EXPECT_FALSE(holds64<Condition::kNe>(kOnes64, kOnes64));
  EXPECT_TRUE(holds64<Condition::kGt>(kOnes64, 0));
  EXPECT_FALSE(holds64<Condition::kGt>(1, 1));
  EXPECT_TRUE(holds64<Condition::kGe>(1, 1));
  EXPECT_TRUE(holds64<Condition::kLt>(0, kOnes64));
  EXPECT_FALSE(holds64<Condition::kLt>(kMin64, kMax64));
  EXPECT_TRUE(holds64<Condition::kLe>(kMax64, kMin64));
  EXPECT_TRUE(holds64<Condition::kSet>(0b110, 0b011));
  EXPECT_FALSE(holds64<Condition::kSet>(0b100, 0b011));
}

TEST(Conditions, Signed) {
  EXPECT_FALSE(holds64<Condition::kSgt>(kOnes64, 0));
  EXPECT_TRUE(holds64<Condition::kSgt>(kMax64, kMin64));
  EXPECT_TRUE(holds64<Condition::kSge>(kMin64, kMin64));
  EXPECT_TRUE(holds64<Condition::kSlt>(kMin64, kMax64));
  EXPECT_FALSE(holds64<Condition::kSlt>(0, kOnes64));
  EXPECT_TRUE(holds64<Condition::kSle>(kOnes64, 0));
  EXPECT_TRUE(holds32<Condition::kSlt>(kMin32, kMax32));
  EXPECT_FALSE(holds32<Condition::kLt>(kMin32, kMax32));
  EXPECT_TRUE(holds32<Condition::kSge>(0, kOnes32));
}

}  // namespace
}  // namespace skep::isa
