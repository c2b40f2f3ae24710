#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "isa/instruction.hpp"

namespace skep::isa {
namespace {

constexpr unsigned kClassMask = 0x07;
constexpr unsigned kSizeMask = 0x18;
constexpr unsigned kModeMask = 0xe0;

unsigned class_bits(const Row& r) { return r.opcode & kClassMask; }
unsigned mode_bits(const Row& r) { return r.opcode & kModeMask; }

// RFC 9669 section 5: W 0, H 1, B 2, DW 3 in bits 3 and 4.
unsigned width_of_size(const Row& r) {
  constexpr unsigned kWidths[] = {32, 16, 8, 64};
  return kWidths[(r.opcode & kSizeMask) >> 3];
}

TEST(Table, RowsStandAtTheirOp) {
  for (size_t i = 0; i < rows().size(); ++i) {
    EXPECT_EQ(static_cast<size_t>(rows()[i].op), i);
    EXPECT_EQ(&row(rows()[i].op), &rows()[i]);
  }
}

TEST(Table, NoTwoRowsAreTheSameInstruction) {
  std::set<std::tuple<unsigned, int32_t>> seen;
  std::set<std::string> names;
  for (const Row& r : rows()) {
    EXPECT_TRUE(seen.emplace(r.opcode, r.key_value).second) << r.name;
    EXPECT_TRUE(names.emplace(r.name).second) << r.name;
  }
}

TEST(Table, RowsOfOneOpcodeShareTheirKey) {
  std::map<unsigned, Key> keys;
  for (const Row& r : rows()) EXPECT_EQ(keys.try_emplace(r.opcode, r.key).first->second, r.key) << r.name;
}

TEST(Table, ArithmeticOpcodesFollowTheirFields) {
  // RFC 9669 section 4.1.
  const std::map<AluOp, unsigned> codes = {
      {AluOp::kAdd, 0x0},     {AluOp::kSub, 0x1},     {AluOp::kMul, 0x2},     {AluOp::kDiv, 0x3},
      {AluOp::kSdiv, 0x3},    {AluOp::kOr, 0x4},      {AluOp::kAnd, 0x5},     {AluOp::kLsh, 0x6},
      {AluOp::kRsh, 0x7},     {AluOp::kNeg, 0x8},     {AluOp::kMod, 0x9},     {AluOp::kSmod, 0x9},
      {AluOp::kXor, 0xa},     {AluOp::kMov, 0xb},     {AluOp::kMovsx8, 0xb},  {AluOp::kMovsx16, 0xb},
      {AluOp::kMovsx32, 0xb}, {AluOp::kArsh, 0xc},    {AluOp::kLe16, 0xd},    {AluOp::kLe32, 0xd},
      {AluOp::kLe64, 0xd},    {AluOp::kBe16, 0xd},    {AluOp::kBe32, 0xd},    {AluOp::kBe64, 0xd},
      {AluOp::kBswap16, 0xd}, {AluOp::kBswap32, 0xd}, {AluOp::kBswap64, 0xd},
  };
  for (const Row& r : rows()) {
    if (r.cls != Class::kAlu) continue;
    EXPECT_EQ(r.opcode >> 4, codes.at(r.alu())) << r.name;
    const bool end = r.opcode >> 4 == 0xd;
    if (!end) {
      EXPECT_EQ(class_bits(r), r.width == 64 ? 0x7U : 0x4U) << r.name;
    }
    if (!end) {
      EXPECT_EQ((r.opcode >> 3 & 1) == 1, r.source == Source::kReg) << r.name;
    }
  }
}

TEST(Table, JumpOpcodesFollowTheirFields) {
  // RFC 9669 section 4.3.
  const std::map<Condition, unsigned> codes = {
      {Condition::kEq, 0x1}, {Condition::kGt, 0x2},  {Condition::kGe, 0x3},  {Condition::kSet, 0x4},
      {Condition::kNe, 0x5}, {Condition::kSgt, 0x6}, {Condition::kSge, 0x7}, {Condition::kLt, 0xa},
      {Condition::kLe, 0xb}, {Condition::kSlt, 0xc}, {Condition::kSle, 0xd},
  };
  for (const Row& r : rows()) {
    if (r.cls != Class::kJump) continue;
    EXPECT_EQ(r.opcode >> 4, codes.at(r.condition())) << r.name;
    EXPECT_EQ(class_bits(r), r.width == 64 ? 0x5U : 0x6U) << r.name;
    EXPECT_EQ((r.opcode >> 3 & 1) == 1, r.source == Source::kReg) << r.name;
  }
}

TEST(Table, MemoryOpcodesFollowTheirFields) {
  // RFC 9669 section 5: modes IMM 0, ABS 1, IND 2, MEM 3, MEMSX 4, ATOMIC 6 in the upper three bits.
  for (const Row& r : rows()) {
    if (r.cls == Class::kLoad) {
      EXPECT_EQ(class_bits(r), 0x1U) << r.name;
      EXPECT_EQ(mode_bits(r), r.is_signed() ? 0x80U : 0x60U) << r.name;
      EXPECT_EQ(width_of_size(r), r.width) << r.name;
    }
    if (r.cls == Class::kStore) {
      EXPECT_EQ(class_bits(r), r.source == Source::kImm ? 0x2U : 0x3U) << r.name;
      EXPECT_EQ(mode_bits(r), 0x60U) << r.name;
      EXPECT_EQ(width_of_size(r), r.width) << r.name;
    }
    if (r.cls == Class::kAtomic || r.cls == Class::kOrdered) {
      EXPECT_EQ(class_bits(r), 0x3U) << r.name;
      EXPECT_EQ(mode_bits(r), 0xc0U) << r.name;
      EXPECT_EQ(width_of_size(r), r.width) << r.name;
    }
    if (r.cls == Class::kPacket) {
      EXPECT_EQ(class_bits(r), 0x0U) << r.name;
      EXPECT_EQ(mode_bits(r), r.packet_mode() == PacketMode::kAbs ? 0x20U : 0x40U) << r.name;
      EXPECT_EQ(width_of_size(r), r.width) << r.name;
    }
    if (r.cls == Class::kLdImm) {
      EXPECT_EQ(r.opcode, 0x18) << r.name;
    }
  }
}

TEST(Table, EveryCombinationHasItsRow) {
  std::map<Class, int> counts;
  for (const Row& r : rows()) ++counts[r.cls];
  // 12 operations at 2 widths from 2 sources; neg twice; sdiv and smod at 2 widths from 2 sources; 5 moves
  // with sign extension; 9 byte swaps.
  EXPECT_EQ(counts[Class::kAlu], 12 * 4 + 2 + 8 + 5 + 9);
  EXPECT_EQ(counts[Class::kJump], 11 * 4);
  EXPECT_EQ(counts[Class::kLoad], 4 + 3);
  EXPECT_EQ(counts[Class::kStore], 4 * 2);
  EXPECT_EQ(counts[Class::kAtomic], 10 * 2);
  EXPECT_EQ(counts[Class::kOrdered], 4 * 2);
  EXPECT_EQ(counts[Class::kLdImm], 7);
  EXPECT_EQ(counts[Class::kPacket], 3 * 2);
  EXPECT_EQ(counts[Class::kControl], 8);
}

// RFC 9669 section 2.4 and what the sections after it say of groups.
Group expected_group(const Row& r) {
  switch (r.cls) {
    case Class::kAlu: {
      const bool divmul = r.alu() == AluOp::kMul || r.alu() == AluOp::kDiv || r.alu() == AluOp::kMod ||
                          r.alu() == AluOp::kSdiv || r.alu() == AluOp::kSmod;
      if (divmul) return r.width == 64 ? Group::kDivmul64 : Group::kDivmul32;
      if (r.opcode >> 4 == 0xd) return r.key_value == 64 ? Group::kBase64 : Group::kBase32;
      return r.width == 64 ? Group::kBase64 : Group::kBase32;
    }
    case Class::kAtomic:
    case Class::kOrdered:
      return r.width == 64 ? Group::kAtomic64 : Group::kAtomic32;
    case Class::kPacket:
      return Group::kPacket;
    case Class::kControl:
      if (r.op == Op::kCallReg) return Group::kCallx;
      return r.op == Op::kMayGoto ? Group::kBase64 : Group::kBase32;
    case Class::kJump:
    case Class::kLoad:
    case Class::kStore:
    case Class::kLdImm:
      return r.width == 64 ? Group::kBase64 : Group::kBase32;
  }
  return Group::kBase32;
}

TEST(Table, GroupsAreThoseOfTheSpecification) {
  for (const Row& r : rows()) EXPECT_EQ(group_name(r.group), group_name(expected_group(r))) << r.name;
}

TEST(Table, GroupNames) {
  EXPECT_EQ(group_name(Group::kBase32), "base32");
  EXPECT_EQ(group_name(Group::kBase64), "base64");
  EXPECT_EQ(group_name(Group::kAtomic32), "atomic32");
  EXPECT_EQ(group_name(Group::kAtomic64), "atomic64");
  EXPECT_EQ(group_name(Group::kDivmul32), "divmul32");
  EXPECT_EQ(group_name(Group::kDivmul64), "divmul64");
  EXPECT_EQ(group_name(Group::kPacket), "packet");
  EXPECT_EQ(group_name(Group::kCallx), "callx");
}

TEST(Table, CpuVersions) {
  for (const Row& r : rows()) {
    EXPECT_GE(r.cpu, 1) << r.name;
    EXPECT_LE(r.cpu, 4) << r.name;
    if (r.cls == Class::kJump && r.width == 32) {
      EXPECT_EQ(r.cpu, 3) << r.name;
    }
  }
  EXPECT_EQ(row(Op::kJeq64Imm).cpu, 1);
  EXPECT_EQ(row(Op::kJlt64Imm).cpu, 2);
  EXPECT_EQ(row(Op::kJsle64Reg).cpu, 2);
  EXPECT_EQ(row(Op::kAtomicAdd64).cpu, 1);
  EXPECT_EQ(row(Op::kAtomicFetchAdd64).cpu, 3);
  EXPECT_EQ(row(Op::kLdsx8).cpu, 4);
  EXPECT_EQ(row(Op::kMovsx8To64).cpu, 4);
  EXPECT_EQ(row(Op::kBswap16).cpu, 4);
  EXPECT_EQ(row(Op::kSdiv64Imm).cpu, 4);
  EXPECT_EQ(row(Op::kGotol).cpu, 4);
}

}  // namespace
}  // namespace skep::isa
