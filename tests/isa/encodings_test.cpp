#include <gtest/gtest.h>

#include <set>

#include "isa/assemble.hpp"
#include "isa/disassemble.hpp"
#include "tests/isa/bytes.hpp"

namespace skep::isa {
namespace {

struct Encoding {
  const char* text;
  const char* llvm;
  const char* bytes;
};
constexpr Encoding kEncodings[] = {
#include "tests/isa/encodings.inc"
};

std::string assembled(const std::string& text) {
  const auto program = assemble(text);
  return program ? hex_of(encode(*program)) : "error: " + program.error().message;
}

TEST(Encodings, AssembleToTheBytesOfClang) {
  for (const Encoding& e : kEncodings) EXPECT_EQ(assembled(e.text), e.bytes) << e.text;
}

TEST(Encodings, TheTextOfObjdumpAssemblesToo) {
  for (const Encoding& e : kEncodings) EXPECT_EQ(assembled(e.llvm), e.bytes) << e.llvm;
}

TEST(Encodings, DisassembleFromTheBytesOfClang) {
  for (const Encoding& e : kEncodings) {
    const auto program = decode(program_of(e.bytes));
    ASSERT_TRUE(program.has_value()) << e.text << ": " << program.error().message;
    ASSERT_EQ(program->size(), 1U) << e.text;
    EXPECT_EQ(disassemble(program->front()), e.text);
  }
}

TEST(Encodings, EveryRowIsThere) {
  std::set<Op> seen;
  for (const Encoding& e : kEncodings) seen.insert(decode(program_of(e.bytes)).value().front().op);
  for (const Row& r : rows()) EXPECT_TRUE(seen.contains(r.op)) << r.name;
}

}  // namespace
}  // namespace skep::isa
