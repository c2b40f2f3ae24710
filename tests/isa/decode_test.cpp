#include <gtest/gtest.h>

#include <cerrno>
#include <random>

#include "isa/instruction.hpp"
#include "tests/isa/bytes.hpp"

namespace skep::isa {
namespace {

std::string error_of(const std::string& hex) {
  const auto decoded = decode(program_of(hex));
  return decoded ? "no error" : decoded.error().message;
}

Instruction first_of(const std::string& hex) {
  const auto decoded = decode(program_of(hex));
  EXPECT_TRUE(decoded.has_value()) << decoded.error().message;
  return decoded && !decoded->empty() ? decoded->front() : Instruction{};
}

TEST(Decode, FieldsOfABasicInstruction) {
  // The example of RFC 9669 section 3.1: r1 += 0x11223344.
  const Instruction i = first_of("07 01 00 00 44 33 22 11");
  EXPECT_EQ(i, (Instruction{Op::kAdd64Imm, 1, 0, 0, 0, 0x11223344}));
  EXPECT_EQ(first_of("63 9a f8 ff 00 00 00 00"), (Instruction{Op::kStx32, 10, 9, -8, 0, 0}));
}

TEST(Decode, ImmediatesAreSignExtended) {
  EXPECT_EQ(first_of("b7 01 00 00 ff ff ff ff").imm, -1);
  EXPECT_EQ(first_of("b4 01 00 00 00 00 00 80").imm, -0x80000000LL);
}

TEST(Decode, SixtyFourBitImmediateTakesTwoSlots) {
  const auto decoded =
      decode(program_of("18 03 00 00 89 67 45 f3 00 00 00 00 01 00 00 80 95 00 00 00 00 00 00 00"));
  ASSERT_TRUE(decoded.has_value());
  ASSERT_EQ(decoded->size(), 2U);
  EXPECT_EQ(decoded->at(0).op, Op::kLdImm64);
  EXPECT_EQ(static_cast<uint64_t>(decoded->at(0).imm), 0x80000001f3456789ULL);
  EXPECT_EQ(decoded->at(0).slots(), 2U);
  EXPECT_EQ(decoded->at(1).slot, 2U);
}

TEST(Decode, TheKeyFieldTellsRowsApart) {
  EXPECT_EQ(first_of("3f 21 00 00 00 00 00 00").op, Op::kDiv64Reg);
  EXPECT_EQ(first_of("3f 21 01 00 00 00 00 00").op, Op::kSdiv64Reg);
  EXPECT_EQ(first_of("bf 21 20 00 00 00 00 00").op, Op::kMovsx32To64);
  EXPECT_EQ(first_of("bf 21 20 00 00 00 00 00").off, 0);
  EXPECT_EQ(first_of("c3 21 08 00 f1 00 00 00").op, Op::kAtomicCmpxchg32);
  EXPECT_EQ(first_of("c3 21 08 00 f1 00 00 00").imm, 0);
  EXPECT_EQ(first_of("85 20 03 00 07 00 00 00"), (Instruction{Op::kCallKfunc, 0, 0, 3, 0, 7}));
  EXPECT_EQ(first_of("85 10 00 00 07 00 00 00"), (Instruction{Op::kCallLocal, 0, 0, 0, 0, 7}));
}

TEST(Decode, CallByRegisterOfOlderCompilers) {
  EXPECT_EQ(first_of("8d 02 00 00 00 00 00 00"), (Instruction{Op::kCallReg, 2, 0, 0, 0, 0}));
  EXPECT_EQ(first_of("8d 00 00 00 02 00 00 00"), (Instruction{Op::kCallReg, 2, 0, 0, 0, 0}));
}

TEST(Decode, TargetSlots) {
  Instruction jump{Op::kGoto, 0, 0, -3, 7, 0};
  EXPECT_EQ(jump.target_slot(), 5);
  Instruction conditional{Op::kJeq64Imm, 1, 0, 4, 7, 99};
  EXPECT_EQ(conditional.target_slot(), 12);
  Instruction far{Op::kGotol, 0, 0, 0, 7, 100000};
  EXPECT_EQ(far.target_slot(), 100008);
  Instruction call{Op::kCallLocal, 0, 0, 0, 7, -8};
  EXPECT_EQ(call.target_slot(), 0);
}

TEST(Decode, ErrorsNameTheSlotAndTheBytes) {
  const auto decoded = decode(program_of("b7 00 00 00 00 00 00 00 ff 00 00 00 00 00 00 00"));
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().slot, 1U);
  EXPECT_EQ(decoded.error().code, EINVAL);
  EXPECT_EQ(decoded.error().message, "insn 1 (ff 00 00 00 00 00 00 00): unknown opcode 0xff");
}

TEST(Decode, WhatIsRefused) {
  EXPECT_EQ(error_of("37 01 02 00 05 00 00 00"),
            "insn 0 (37 01 02 00 05 00 00 00): opcode 0x37 does not take off 0x2");
  EXPECT_EQ(error_of("d4 01 00 00 18 00 00 00"),
            "insn 0 (d4 01 00 00 18 00 00 00): opcode 0xd4 does not take imm 0x18");
  EXPECT_EQ(error_of("85 30 00 00 01 00 00 00"),
            "insn 0 (85 30 00 00 01 00 00 00): opcode 0x85 does not take src 0x3");
  EXPECT_EQ(error_of("bf 1b 00 00 00 00 00 00"), "insn 0 (bf 1b 00 00 00 00 00 00): R11 is invalid");
  EXPECT_EQ(error_of("bf c1 00 00 00 00 00 00"), "insn 0 (bf c1 00 00 00 00 00 00): R12 is invalid");
  EXPECT_EQ(error_of("07 21 00 00 01 00 00 00"),
            "insn 0 (07 21 00 00 01 00 00 00): Add64Imm uses reserved field src");
  EXPECT_EQ(error_of("0f 21 00 00 01 00 00 00"),
            "insn 0 (0f 21 00 00 01 00 00 00): Add64Reg uses reserved field imm");
  EXPECT_EQ(error_of("85 01 00 00 01 00 00 00"),
            "insn 0 (85 01 00 00 01 00 00 00): CallHelper uses reserved field dst");
  EXPECT_EQ(error_of("85 00 01 00 01 00 00 00"),
            "insn 0 (85 00 01 00 01 00 00 00): CallHelper uses reserved field off");
  EXPECT_EQ(error_of("95 00 00 00 01 00 00 00"),
            "insn 0 (95 00 00 00 01 00 00 00): Exit uses reserved field imm");
  EXPECT_EQ(error_of("30 01 00 00 01 00 00 00"),
            "insn 0 (30 01 00 00 01 00 00 00): LdAbs8 uses reserved field dst");
  EXPECT_EQ(error_of("06 00 01 00 00 00 00 00"),
            "insn 0 (06 00 01 00 00 00 00 00): Gotol uses reserved field off");
  EXPECT_EQ(error_of("e5 00 01 00 01 00 00 00"),
            "insn 0 (e5 00 01 00 01 00 00 00): MayGoto uses reserved field imm");
}

TEST(Decode, TheSecondSlot) {
  EXPECT_EQ(error_of("18 01 00 00 00 00 00 00"),
            "insn 0 (18 01 00 00 00 00 00 00): the second slot of the 64-bit immediate is missing");
  EXPECT_EQ(error_of("18 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00"),
            "insn 1 (00 01 00 00 00 00 00 00): the second slot of a 64-bit immediate uses reserved fields");
  EXPECT_EQ(error_of("18 11 00 00 05 00 00 00 00 00 00 00 01 00 00 00"),
            "insn 1 (00 00 00 00 01 00 00 00): the second immediate of a map reference has to be zero");
  EXPECT_EQ(first_of("18 21 00 00 05 00 00 00 00 00 00 00 08 00 00 00").imm, 0x800000005LL);
}

TEST(Decode, TheFramePointerIsReadOnly) {
  const std::string message = "frame pointer is read only";
  for (const char* hex : {"b7 0a 00 00 01 00 00 00", "79 1a 00 00 00 00 00 00", "dc 0a 00 00 10 00 00 00",
                          "db a1 00 00 01 00 00 00", "db a1 00 00 e1 00 00 00", "db 1a 00 00 00 01 00 00"}) {
    const auto decoded = decode(program_of(hex));
    ASSERT_FALSE(decoded.has_value()) << hex;
    EXPECT_NE(decoded.error().message.find(message), std::string::npos) << hex;
    EXPECT_EQ(decoded.error().code, EACCES) << hex;
  }
  // Reading it, storing through it and storing it are allowed; so is cmpxchg, which writes r0 alone.
  for (const char* hex : {"bf a1 00 00 00 00 00 00", "7b 1a f8 ff 00 00 00 00", "7b a1 00 00 00 00 00 00",
                          "db a1 00 00 f1 00 00 00", "db a1 00 00 00 00 00 00"})
    EXPECT_TRUE(decode(program_of(hex)).has_value()) << hex;
}

TEST(Decode, AnEmptyProgramIsEmpty) {
  const auto decoded = decode({});
  ASSERT_TRUE(decoded.has_value());
  EXPECT_TRUE(decoded->empty());
}

TEST(Encode, PutsTheKeyBack) {
  const std::vector<Instruction> program = {{Op::kSdiv32Imm, 3, 0, 0, 0, -7},
                                            {Op::kLdMapValue, 1, 0, 0, 1, 0x800000005LL},
                                            {Op::kCallLocal, 0, 0, 0, 3, 2},
                                            {Op::kStoreRelease16, 10, 4, -2, 4, 0}};
  EXPECT_EQ(hex_of(encode(program)),
            "34 03 01 00 f9 ff ff ff "
            "18 21 00 00 05 00 00 00 00 00 00 00 08 00 00 00 "
            "85 10 00 00 02 00 00 00 "
            "cb 4a fe ff 10 01 00 00");
}

// Whatever the bytes are, they decode or are refused with a message, and what decodes encodes to the same
// bytes.
TEST(Decode, AnyBytesDecodeOrAreRefused) {
  std::mt19937_64 random(1);
  size_t decoded_programs = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::vector<Encoded> program(1 + random() % 3);
    for (Encoded& e : program) {
      const uint64_t bits = random();
      std::memcpy(static_cast<void*>(&e), &bits, sizeof e);
      // Most reserved fields are zero in a program that decodes.
      const uint64_t sparse = random();
      if ((sparse & 1) != 0) e.off = 0;
      if ((sparse & 2) != 0) e.imm = 0;
      if ((sparse & 4) != 0) e.src = 0;
      if ((sparse & 8) != 0) e.dst = 0;
      if (&e != &program.front() && (sparse & 16) != 0) e.opcode = 0;
    }
    const auto decoded = decode(program);
    if (!decoded) {
      EXPECT_LT(decoded.error().slot, program.size());
      EXPECT_TRUE(decoded.error().message.starts_with("insn "));
      continue;
    }
    ++decoded_programs;
    for (const Instruction& i : *decoded)
      if (i.op == Op::kCallReg) program[i.slot] = Encoded{0x8d, static_cast<uint8_t>(i.dst & 0xf), 0, 0, 0};
    EXPECT_EQ(hex_of(encode(*decoded)), hex_of(program));
  }
  EXPECT_GT(decoded_programs, 1000U);
}

}  // namespace
}  // namespace skep::isa
