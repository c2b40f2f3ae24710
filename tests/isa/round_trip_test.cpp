#include <gtest/gtest.h>

#include <limits>

#include "isa/assemble.hpp"
#include "isa/disassemble.hpp"
#include "tests/isa/bytes.hpp"

namespace skep::isa {
namespace {

constexpr uint8_t kDst[] = {0, 9};
constexpr uint8_t kSrc[] = {0, 1, 9};
constexpr int16_t kOffsets[] = {
    0, 1, -1, 8, std::numeric_limits<int16_t>::max(), std::numeric_limits<int16_t>::min()};
constexpr int64_t kImmediates[] = {
    0, 1, -1, 255, 0x7fff, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()};
constexpr int64_t kLongImmediates[] = {0,
                                       5,
                                       -1,
                                       0x123456789,
                                       0x80000000,
                                       std::numeric_limits<int64_t>::max(),
                                       std::numeric_limits<int64_t>::min()};

std::vector<int64_t> immediates_of(Op op) {
  if (op == Op::kLdMapFd || op == Op::kLdMapIdx) return {0, 5, 0x7fffffff, 0xffffffff};
  if (row(op).cls == Class::kLdImm) return {std::begin(kLongImmediates), std::end(kLongImmediates)};
  return {std::begin(kImmediates), std::end(kImmediates)};
}

// Instructions of this row with the edges of every field it has; a field it lacks stays zero.
std::vector<Instruction> samples(const Row& r) {
  std::vector<Instruction> out;
  const auto operands = [&r](uint8_t dst, uint8_t src, int16_t off, int64_t imm) -> Instruction {
    switch (r.form) {
      case Form::kDst:
      case Form::kCallReg:
        return {r.op, dst, 0, 0, 0, 0};
      case Form::kDstImm:
      case Form::kLdImm64:
        return {r.op, dst, 0, 0, 0, imm};
      case Form::kDstReg:
        return {r.op, dst, src, 0, 0, 0};
      case Form::kJumpImm:
      case Form::kStoreImm:
        return {r.op, dst, 0, off, 0, imm};
      case Form::kJumpReg:
      case Form::kLoad:
      case Form::kStoreReg:
        return {r.op, dst, src, off, 0, 0};
      case Form::kGoto:
      case Form::kMayGoto:
        return {r.op, 0, 0, off, 0, 0};
      case Form::kGotol:
      case Form::kAbs:
      case Form::kCall:
        return {r.op, 0, 0, 0, 0, imm};
      case Form::kInd:
        return {r.op, 0, src, 0, 0, imm};
      case Form::kCallKfunc:
        return {r.op, 0, 0, off, 0, imm};
      case Form::kExit:
        return {r.op, 0, 0, 0, 0, 0};
    }
    return {};
  };
  for (const uint8_t dst : kDst)
    for (const uint8_t src : kSrc)
      for (const int16_t off : kOffsets)
        for (const int64_t imm : immediates_of(r.op)) out.push_back(operands(dst, src, off, imm));
  return out;
}

TEST(RoundTrip, TextOfEveryRowAssemblesToTheSameInstruction) {
  for (const Row& r : rows()) {
    for (const Instruction& i : samples(r)) {
      const std::string text = disassemble(i);
      const auto assembled = assemble(text);
      ASSERT_TRUE(assembled.has_value()) << r.name << ": " << text << ": " << assembled.error().message;
      ASSERT_EQ(assembled->size(), 1U) << text;
      EXPECT_EQ(assembled->front(), i) << r.name << ": " << text;
      EXPECT_EQ(hex_of(encode(*assembled)), hex_of(encode(std::vector{i}))) << r.name << ": " << text;
    }
  }
}

TEST(RoundTrip, BytesOfEveryRowDecodeToTheSameInstruction) {
  for (const Row& r : rows()) {
    for (const Instruction& i : samples(r)) {
      const auto decoded = decode(encode(std::vector{i}));
      ASSERT_TRUE(decoded.has_value()) << r.name << ": " << decoded.error().message;
      ASSERT_EQ(decoded->size(), 1U) << r.name;
      EXPECT_EQ(decoded->front(), i) << r.name << ": " << disassemble(i);
    }
  }
}

TEST(RoundTrip, TheFramePointerAsBaseAndSource) {
  for (const char* text : {"r1 = r10", "r1 = *(u64 *)(r10 - 8)", "*(u64 *)(r10 - 8) = r10",
                           "lock *(u64 *)(r10 - 8) += r10", "if r10 == r1 goto +2", "callx r10"}) {
    const auto assembled = assemble(text);
    ASSERT_TRUE(assembled.has_value()) << text << ": " << assembled.error().message;
    EXPECT_EQ(disassemble(assembled->front()), text);
  }
}

}  // namespace
}  // namespace skep::isa
