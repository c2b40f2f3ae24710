#include "tests/vectors/vector_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace skep::vectors {
namespace {

constexpr std::string_view kExample = R"(
# comment
test adds one
covers Add64Imm Exit
memory 01 ff
fuel 0x10
asm
  # a comment of the assembler's
  r0 = 1
  r0 += -1

  exit
result 0x0
memory_after 01 fe
end

test loops
covers Goto
asm
  goto -1
fault fuel
end
)";

std::string error_of(std::string_view text) {
  const auto parsed = parse(text);
  return parsed ? "no error" : std::to_string(parsed.error().line) + ": " + parsed.error().message;
}

TEST(VectorFile, Example) {
  const auto parsed = parse(kExample);
  ASSERT_TRUE(parsed.has_value()) << error_of(kExample);
  ASSERT_EQ(parsed->size(), 2U);
  const Vector& first = parsed->at(0);
  EXPECT_EQ(first.name, "adds one");
  EXPECT_EQ(first.line, 3U);
  EXPECT_EQ(first.covers, (std::vector{isa::Op::kAdd64Imm, isa::Op::kExit}));
  EXPECT_EQ(first.memory, (std::vector<uint8_t>{0x01, 0xff}));
  EXPECT_EQ(first.memory_after, (std::vector<uint8_t>{0x01, 0xfe}));
  EXPECT_EQ(first.fuel, 16U);
  EXPECT_EQ(first.result, 0U);
  EXPECT_FALSE(first.fault.has_value());
  ASSERT_EQ(first.program.size(), 3U);
  EXPECT_EQ(first.program[1].imm, -1);
  const Vector& second = parsed->at(1);
  EXPECT_FALSE(second.memory.has_value());
  EXPECT_EQ(second.fault, Fault::kFuel);
  EXPECT_FALSE(second.result.has_value());
}

TEST(VectorFile, Errors) {
  EXPECT_EQ(error_of("covers Exit"), "1: expected 'test'");
  EXPECT_EQ(error_of("test a\ntest b"), "2: the test before has no 'end'");
  EXPECT_EQ(error_of("test a\ncovers Nothing"), "2: there is no instruction 'Nothing'");
  EXPECT_EQ(error_of("test a\nmemory 1"), "2: '1' is not a byte");
  EXPECT_EQ(error_of("test a\nmemory 0g"), "2: '0g' is not a byte");
  EXPECT_EQ(error_of("test a\nwhatever"), "2: unknown keyword 'whatever'");
  EXPECT_EQ(error_of("test a\nfault thunder"), "2: 'thunder' is not a kind of fault");
  EXPECT_EQ(error_of("test a\nresult x"), "2: 'x' is not a number");
  EXPECT_EQ(error_of("test a\nresult 1\nresult 1"), "3: said twice");
  EXPECT_EQ(error_of("test a\ncovers Exit\nasm\n  exit\n"), "4: the last test has no 'end'");
  EXPECT_EQ(error_of("test a\ncovers Exit\nasm\n  exit\nend"), "5: expected a result or a fault");
  EXPECT_EQ(error_of("test a\nasm\n  exit\nresult 0\nend"), "5: the test covers nothing");
  EXPECT_EQ(error_of("test a\ncovers Exit\nasm\n  exit\n  bad\nresult 0\nend"),
            "5: column 3: expected an instruction");
  EXPECT_EQ(error_of("test a\ncovers Exit\nasm\nresult 0\nend"), "5: the program is empty");
}

std::vector<Vector> all() {
  std::vector<Vector> out;
  for (const std::string& file : files()) {
    auto parsed = parse_file(file);
    if (!parsed) {
      ADD_FAILURE() << file << ":" << parsed.error().line << ": " << parsed.error().message;
      continue;
    }
    std::ranges::move(*parsed, std::back_inserter(out));
  }
  return out;
}

// Rows that need a map, a type or a kernel function, which a raw program cannot name; see README.md.
bool needs_more_than_a_program(isa::Op op) {
  static const std::set<isa::Op> ops = {isa::Op::kLdMapFd,  isa::Op::kLdMapValue, isa::Op::kLdBtfId,
                                        isa::Op::kLdFunc,   isa::Op::kLdMapIdx,   isa::Op::kLdMapIdxValue,
                                        isa::Op::kCallKfunc};
  return ops.contains(op);
}

TEST(Vectors, EveryFileParses) { EXPECT_GE(all().size(), 350U); }

TEST(Vectors, NamesAreUnique) {
  std::set<std::string> names;
  for (const Vector& v : all()) EXPECT_TRUE(names.insert(v.name).second) << v.name;
}

TEST(Vectors, WhatATestCoversOccursInItsProgram) {
  for (const Vector& v : all()) {
    const auto program = isa::decode(v.program);
    ASSERT_TRUE(program.has_value()) << v.name << ": " << program.error().message;
    for (const isa::Op op : v.covers) {
      const bool occurs =
          std::ranges::any_of(*program, [op](const isa::Instruction& i) { return i.op == op; });
      EXPECT_TRUE(occurs) << v.name << " does not contain " << isa::row(op).name;
    }
  }
}

TEST(Vectors, EveryRowIsCovered) {
  std::set<isa::Op> covered;
  for (const Vector& v : all()) covered.insert(v.covers.begin(), v.covers.end());
  for (const isa::Row& r : isa::rows())
    EXPECT_NE(covered.contains(r.op), needs_more_than_a_program(r.op)) << r.name;
}

TEST(Vectors, MemoryAfterIsAsLongAsMemory) {
  for (const Vector& v : all()) {
    if (!v.memory_after) continue;
    const size_t before = v.memory ? v.memory->size() : 0;
    EXPECT_EQ(v.memory_after->size(), before) << v.name;
  }
}

}  // namespace
}  // namespace skep::vectors
