#include "isa/assemble.hpp"

#include <gtest/gtest.h>

#include "isa/disassemble.hpp"
#include "tests/isa/bytes.hpp"

namespace skep::isa {
namespace {

// The program written again in the disassembler's spelling, one instruction per line; the error if there is
// one.
std::string rewritten(const std::string& text, const AssembleOptions& options = {}) {
  const auto program = assemble(text, options);
  if (!program) {
    const AssembleError& e = program.error();
    return std::to_string(e.line) + ":" + std::to_string(e.column) + ": " + e.message;
  }
  std::string out;
  for (const Instruction& i : *program) {
    if (!out.empty()) out += "\n";
    out += disassemble(i);
  }
  return out;
}

TEST(Assemble, Labels) {
  EXPECT_EQ(rewritten("start:\n"
                      "  r1 = 5 ll\n"  // two slots
                      "loop: r1 -= 1\n"
                      "  if r1 != 0 goto loop\n"
                      "  if w1 s> w2 goto done\n"
                      "  goto start\n"
                      "  gotol done\n"
                      "  may_goto loop\n"
                      "done:\n"
                      "  call function\n"
                      "  r2 = code_addr(function)\n"
                      "  exit\n"
                      "a: b: function:\n"
                      "  exit\n"),
            "r1 = 0x5 ll\n"
            "r1 -= 1\n"
            "if r1 != 0 goto -2\n"
            "if w1 s> w2 goto +3\n"
            "goto -6\n"
            "gotol +1\n"
            "may_goto -6\n"
            "call pc+3\n"
            "r2 = code_addr(+2)\n"
            "exit\n"
            "exit");
}

TEST(Assemble, LabelsAtTheEndOfTheText) { EXPECT_EQ(rewritten("goto end\nexit\nend:"), "goto +1\nexit"); }

TEST(Assemble, ABackwardFunctionAddressLeavesTheSecondSlotZero) {
  EXPECT_EQ(rewritten("f:\nexit\nr1 = code_addr(f)"), "exit\nr1 = code_addr(-2)");
}

TEST(Assemble, SlotsCountTheSecondHalvesOfImmediates) {
  const auto program = assemble("r1 = 1 ll\nr2 = 2 ll\nexit");
  ASSERT_TRUE(program.has_value());
  EXPECT_EQ(program->at(0).slot, 0U);
  EXPECT_EQ(program->at(1).slot, 2U);
  EXPECT_EQ(program->at(2).slot, 4U);
}

TEST(Assemble, Comments) {
  EXPECT_EQ(
      rewritten("# a\n// b\n; c\nr1 = 1 # d\nr2 = 2 // e\nr3 = 3 ; r4 = 4\n/* f\n */ r5 /* g */ = 5\n\n"),
      "r1 = 1\nr2 = 2\nr3 = 3\nr5 = 5");
  EXPECT_EQ(rewritten(""), "");
  EXPECT_EQ(rewritten("  \r\n\texit\r\n"), "exit");
}

TEST(Assemble, Numbers) {
  EXPECT_EQ(rewritten("r1 = 0x10"), "r1 = 16");
  EXPECT_EQ(rewritten("r1 = -0x10"), "r1 = -16");
  EXPECT_EQ(rewritten("r1 = 0b101"), "r1 = 5");
  EXPECT_EQ(rewritten("r1 = +7"), "r1 = 7");
  EXPECT_EQ(rewritten("r1=-5"), "r1 = -5");
  EXPECT_EQ(rewritten("r1 = 4294967295"), "r1 = -1");
  EXPECT_EQ(rewritten("r1 = -2147483648"), "r1 = -2147483648");
  EXPECT_EQ(rewritten("r1 = -1 ll"), "r1 = 0xffffffffffffffff ll");
  EXPECT_EQ(rewritten("r1 = 18446744073709551615 ll"), "r1 = 0xffffffffffffffff ll");
  EXPECT_EQ(rewritten("r1 = -9223372036854775808 ll"), "r1 = 0x8000000000000000 ll");
}

TEST(Assemble, SpellingsOfOtherTools) {
  EXPECT_EQ(rewritten("R1 = r2"), "r1 = r2");
  EXPECT_EQ(rewritten("goto 3"), "goto +3");
  EXPECT_EQ(rewritten("goto pc+3"), "goto +3");
  EXPECT_EQ(rewritten("goto pc-3"), "goto -3");
  EXPECT_EQ(rewritten("goto +0x1 <.text+0x68>"), "goto +1");
  EXPECT_EQ(rewritten("if r1 == 0x0 goto pc+5"), "if r1 == 0 goto +5");
  EXPECT_EQ(rewritten("gotol pc+70000"), "gotol +70000");
  EXPECT_EQ(rewritten("may_goto pc+2"), "may_goto +2");
  EXPECT_EQ(rewritten("r0 = *(u32*)(r1)"), "r0 = *(u32 *)(r1 + 0)");
  EXPECT_EQ(rewritten("r0 = *(u32 *)(r1 +4)"), "r0 = *(u32 *)(r1 + 4)");
  EXPECT_EQ(rewritten("r0 = *(u32 *)(r1 + -4)"), "r0 = *(u32 *)(r1 - 4)");
  EXPECT_EQ(rewritten("w0 = *(u32 *)(r1 - 0x4)"), "r0 = *(u32 *)(r1 - 4)");
  EXPECT_EQ(rewritten("*(u32 *)(r1 + 0) = w2"), "*(u32 *)(r1 + 0) = r2");
  EXPECT_EQ(rewritten("lock *(u32 *)(r1 + 0) += r2"), "lock *(u32 *)(r1 + 0) += w2");
  EXPECT_EQ(rewritten("r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)"),
            "r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)");
  EXPECT_EQ(rewritten("r2 = atomic_fetch_xor((u32 *)(r1 +0), r2)"),
            "w2 = atomic_fetch_xor((u32 *)(r1 + 0), w2)");
  EXPECT_EQ(rewritten("r2 = atomic64_xchg((u64 *)(r1 +0), r2)"), "r2 = xchg_64(r1 + 0, r2)");
  EXPECT_EQ(rewritten("r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)"), "w0 = cmpxchg32_32(r1 + 0, w0, w2)");
  EXPECT_EQ(rewritten("r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)"), "r0 = cmpxchg_64(r1 + 0, r0, r2)");
  EXPECT_EQ(rewritten("r0 = load_acquire((u32 *)(r1 +0))"), "w0 = load_acquire((u32 *)(r1 + 0))");
  EXPECT_EQ(rewritten("store_release((u8 *)(r1 +0), r2)"), "store_release((u8 *)(r1 + 0), w2)");
  EXPECT_EQ(rewritten("ld_pseudo r1, 0x1, 0x5"), "r1 = map_by_fd(5)");
  EXPECT_EQ(rewritten("r0 = *(u8 *)skb[r1 - 3]"), "r0 = *(u8 *)skb[r1 - 3]");
  EXPECT_EQ(rewritten("r0 = *(u8 *)skb[r1 + 0]"), "r0 = *(u8 *)skb[r1]");
  EXPECT_EQ(rewritten("call bpf_ktime_get_ns#5"), "call 5");
  EXPECT_EQ(rewritten("call kfunc#12, 3"), "call kfunc#12, 3");
  EXPECT_EQ(rewritten("r1 = map_val(map_by_fd(3))"), "r1 = map_val(map_by_fd(3)) + 0");
}

TEST(Assemble, HelpersByName) {
  AssembleOptions options;
  options.helper_id = [](std::string_view name) -> std::optional<int32_t> {
    if (name == "bpf_ktime_get_ns") return 5;
    return std::nullopt;
  };
  EXPECT_EQ(rewritten("call bpf_ktime_get_ns\nexit", options), "call 5\nexit");
  EXPECT_EQ(rewritten("call bpf_ktime_get_ns\nexit\nbpf_ktime_get_ns: exit", options),
            "call pc+1\nexit\nexit");
  EXPECT_EQ(rewritten("call bpf_other\nexit", options), "1:6: label 'bpf_other' is not defined");
  EXPECT_EQ(rewritten("goto bpf_ktime_get_ns", options), "1:6: label 'bpf_ktime_get_ns' is not defined");
}

TEST(Assemble, ErrorsSayWhere) {
  EXPECT_EQ(rewritten("r1 = 1\n  r2 = r11\n"), "2:8: expected a register, a number or an operation");
  EXPECT_EQ(rewritten("nop"), "1:1: expected an instruction");
  EXPECT_EQ(rewritten("r1 = 1 r2 = 2"), "1:8: expected the end of the line");
  EXPECT_EQ(rewritten("r1 = w2"), "1:6: the registers differ in width");
  EXPECT_EQ(rewritten("if r1 < w2 goto +1"), "1:9: the registers differ in width");
  EXPECT_EQ(rewritten("if r1 ~ 2 goto +1"), "1:7: expected a comparison");
  EXPECT_EQ(rewritten("if r1 < 2"), "1:10: expected 'goto'");
  EXPECT_EQ(rewritten("r1 ~ 2"), "1:4: expected an operator");
  EXPECT_EQ(rewritten("r1 = 4294967296"), "1:6: the number does not lie between -2147483648 and 4294967295");
  EXPECT_EQ(rewritten("r1 = -2147483649"), "1:6: the number does not lie between -2147483648 and 4294967295");
  EXPECT_EQ(rewritten("r1 = 18446744073709551616 ll"), "1:6: expected a number");
  EXPECT_EQ(rewritten("goto +32768"), "1:6: the number does not lie between -32768 and 32767");
  EXPECT_EQ(rewritten("r1 = *(u64 *)(r2 + 32768)"), "1:20: the number does not lie between -32768 and 32767");
  EXPECT_EQ(rewritten("r1 = *(u24 *)(r2 + 0)"), "1:8: expected a type, u8 to u64 or s8 to s64");
  EXPECT_EQ(rewritten("r1 = *(s64 *)(r2 + 0)"), "1:22: there is no such instruction");
  EXPECT_EQ(rewritten("w1 = *(u64 *)(r2 + 0)"), "1:22: the instruction takes r registers");
  EXPECT_EQ(rewritten("*(s8 *)(r1 + 0) = r2"), "1:8: expected an unsigned type");
  EXPECT_EQ(rewritten("*(u64 *)(r1 + 0) = w2"), "1:22: a store of 64 bits takes an r register");
  EXPECT_EQ(rewritten("lock *(u8 *)(r1 + 0) += w2"), "1:27: there is no such instruction");
  EXPECT_EQ(rewritten("r1 = -r2"), "1:7: expected r1 again");
  EXPECT_EQ(rewritten("r1 = be16 r2"), "1:11: expected r1 again");
  EXPECT_EQ(rewritten("w1 = (s32)w2"), "1:13: there is no such instruction");
  EXPECT_EQ(rewritten("r2 = xchg_64(r1 + 0, r3)"),
            "1:25: the old value is left in the register that held the new one");
  EXPECT_EQ(rewritten("r0 = cmpxchg_64(r1 + 0, r2, r3)"), "1:27: cmpxchg compares with r0");
  EXPECT_EQ(rewritten("r1 = cmpxchg_64(r1 + 0, r0, r3)"), "1:32: cmpxchg leaves the old value in r0");
  EXPECT_EQ(rewritten("r1 = atomic64_xchg((u32 *)(r2 + 0), r1)"),
            "1:35: expected a type as wide as the operation");
  EXPECT_EQ(rewritten("r1 = atomic_fetch_add(r2 + 0, r1)"), "1:29: expected a type as wide as the operation");
  EXPECT_EQ(rewritten("r1 = *(u8 *)skb[0]"), "1:16: a packet load leaves its value in r0");
  EXPECT_EQ(rewritten("w1 = 1 ll"), "1:10: the instruction takes r registers");
  EXPECT_EQ(rewritten("a:\na: exit"), "2:1: label 'a' is defined twice");
  EXPECT_EQ(rewritten("exit\n  goto nowhere"), "2:8: label 'nowhere' is not defined");
}

TEST(Assemble, ALabelTooFarForAShortJump) {
  std::string text = "goto far\n";
  for (int i = 0; i < 32768; ++i) text += "r1 = 1\n";
  EXPECT_EQ(rewritten(text + "far: exit"), "1:6: label 'far' is too far for 16 bits");
  const auto program = assemble("gotol far\n" + text.substr(text.find('\n') + 1) + "far: exit");
  ASSERT_TRUE(program.has_value());
  EXPECT_EQ(program->front().imm, 32768);
}

TEST(Disassemble, NamesOfHelpersAndReferences) {
  DisassembleOptions options;
  options.helper_name = [](int32_t id) { return id == 5 ? std::string_view("bpf_ktime_get_ns") : ""; };
  options.reference = [](const Instruction& i) -> std::string {
    if (i.op == Op::kLdMapFd) return "map flows";
    if (i.op == Op::kCallLocal) return "parse";
    return "";
  };
  const auto text = [&options](const Instruction& i) { return disassemble(i, options); };
  EXPECT_EQ(text({Op::kCallHelper, 0, 0, 0, 0, 5}), "call bpf_ktime_get_ns#5");
  EXPECT_EQ(text({Op::kCallHelper, 0, 0, 0, 0, 6}), "call 6");
  EXPECT_EQ(text({Op::kLdMapFd, 1, 0, 0, 0, 3}), "r1 = map_by_fd(3) // map flows");
  EXPECT_EQ(text({Op::kCallLocal, 0, 0, 0, 0, 9}), "call pc+9 // parse");
  EXPECT_EQ(text({Op::kLdImm64, 1, 0, 0, 0, 3}), "r1 = 0x3 ll");
  EXPECT_EQ(rewritten(text({Op::kLdMapFd, 1, 0, 0, 0, 3})), "r1 = map_by_fd(3)");
}

TEST(Disassemble, ReferencesWithBothSlots) {
  EXPECT_EQ(disassemble({Op::kLdMapValue, 1, 0, 0, 0, 0x800000005}), "r1 = map_val(map_by_fd(5)) + 8");
  EXPECT_EQ(disassemble({Op::kLdMapIdxValue, 1, 0, 0, 0, 0x1000000002}), "r1 = map_val(map_by_idx(2)) + 16");
  EXPECT_EQ(disassemble({Op::kLdBtfId, 1, 0, 0, 0, 0x300000007}), "r1 = var_addr(7, 3)");
  EXPECT_EQ(disassemble({Op::kLdFunc, 1, 0, 0, 0, 0xfffffffe}), "r1 = code_addr(-2)");
}

}  // namespace
}  // namespace skep::isa
