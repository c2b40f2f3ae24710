#include <gtest/gtest.h>

#include "isa/assemble.hpp"
#include "vm_fixture.hpp"

namespace skep::test {
namespace {

struct Refusal {
  const char* name;
  const char* text;
  const char* message;
};

class LoweringRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(LoweringRefuses, WithAMessageThatNamesTheInstruction) {
  const auto machine = make_machine();
  const auto program = try_program(*machine, assemble(GetParam().text));
  ASSERT_FALSE(program.has_value());
  EXPECT_NE(program.error().message.find(GetParam().message), std::string::npos) << program.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Programs, LoweringRefuses,
    testing::Values(Refusal{"JumpBehindTheEnd", "goto +1\nexit", "jump out of range from insn 0 to 2"},
                    Refusal{"JumpBeforeTheStart", "goto -2\nexit", "jump out of range from insn 0 to -1"},
                    Refusal{"FallsOffTheEnd", "r0 = 0", "fall off the end"},
                    Refusal{"CallOutOfTheProgram", "call pc+7\nexit", "call from insn 0 to 8"},
                    Refusal{"JumpIntoAnImmediate", "goto +1\nr1 = 0x100000000 ll\nexit", "second slot"},
                    Refusal{"JumpIntoAnotherFunction", "call pc+1\nexit\nr0 = 1\ngoto -3",
                            "jump out of range"},
                    Refusal{"UnknownHelper", "call 99999\nexit", "invalid func unknown#99999"},
                    Refusal{"KernelFunction", "call kfunc#12\nexit", "kernel function #12"},
                    Refusal{"NoSuchMap", "r1 = map_by_fd(3)\nexit", "insn 0: no such map"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Lowering, RefusesAnEmptyProgram) {
  const auto machine = make_machine();
  const auto program = try_program(*machine, {});
  ASSERT_FALSE(program.has_value());
  EXPECT_EQ(program.error().code, EINVAL);
}

TEST(Lowering, RefusesABadOpcodeByItsSlotAndBytes) {
  const auto machine = make_machine();
  auto code = assemble("r0 = 0\nexit");
  code[0].opcode = 0xff;
  const auto program = try_program(*machine, code);
  ASSERT_FALSE(program.has_value());
  EXPECT_NE(program.error().message.find("insn 0 (ff 00"), std::string::npos) << program.error().message;
}

TEST(Lowering, KeepsGplHelpersFromOtherPrograms) {
  const auto machine = make_machine();
  const auto code = assemble("r1 = r10\nr2 = 0\ncall 6\nr0 = 0\nexit");
  EXPECT_TRUE(try_program(*machine, code, "xdp", "Dual BSD/GPL").has_value());
  const auto refused = try_program(*machine, code, "xdp", "Proprietary");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("GPL-restricted function bpf_trace_printk#6"), std::string::npos);
}

TEST(Lowering, KeepsXdpHelpersFromOtherTypes) {
  const auto machine = make_machine();
  const auto code = assemble("r2 = 0\ncall 44\nexit");
  EXPECT_TRUE(try_program(*machine, code, "xdp").has_value());
  const auto refused = try_program(*machine, code, "sched_cls");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("bpf_xdp_adjust_head#44"), std::string::npos);
}

struct MapUse {
  const char* name;
  uint32_t type;
  const char* text;
  const char* message;  // nullptr: admitted
};

class LoweringOfMapArguments : public testing::TestWithParam<MapUse> {};

TEST_P(LoweringOfMapArguments, HoldsMapsAgainstHelpers) {
  const auto machine = make_machine();
  const auto map = make_map(*machine, GetParam().type, 4, 4, 1);
  const auto program = try_program(*machine, assemble(GetParam().text), "raw", "GPL", {map});
  if (GetParam().message == nullptr) {
    EXPECT_TRUE(program.has_value()) << program.error().message;
    return;
  }
  ASSERT_FALSE(program.has_value());
  EXPECT_EQ(program.error().code, EINVAL);
  EXPECT_NE(program.error().message.find(GetParam().message), std::string::npos) << program.error().message;
}

constexpr const char* kLookup = "r6 = map_by_fd(0)\nr2 = r10\nr1 = r6\ncall 1\nexit";
constexpr const char* kTailCall = "r2 = map_by_fd(0)\nr3 = 0\ncall 12\nexit";

INSTANTIATE_TEST_SUITE_P(
    Programs, LoweringOfMapArguments,
    testing::Values(MapUse{"LookupInAHash", BPF_MAP_TYPE_HASH, kLookup, nullptr},
                    MapUse{"LookupInAProgramArray", BPF_MAP_TYPE_PROG_ARRAY, kLookup,
                           "insn 4: cannot pass map_type 3 into func bpf_map_lookup_elem#1"},
                    MapUse{"TailCallThroughAProgramArray", BPF_MAP_TYPE_PROG_ARRAY, kTailCall, nullptr},
                    MapUse{"TailCallThroughAnArray", BPF_MAP_TYPE_ARRAY, kTailCall,
                           "insn 3: cannot pass map_type 2 into func bpf_tail_call#12"},
                    MapUse{"OneCpusElementOfAnArray", BPF_MAP_TYPE_ARRAY,
                           "r1 = map_by_fd(0)\nr2 = r10\nr3 = 0\ncall 195\nexit",
                           "cannot pass map_type 2 into func bpf_map_lookup_percpu_elem#195"},
                    MapUse{"OneCpusElementOfAPerCpuArray", BPF_MAP_TYPE_PERCPU_ARRAY,
                           "r1 = map_by_fd(0)\nr2 = r10\nr3 = 0\ncall 195\nexit", nullptr},
                    // A branch that a constant decides is not looked at.
                    MapUse{"CallThatNeverRuns", BPF_MAP_TYPE_PROG_ARRAY,
                           "r0 = 1\nif r0 != 0 goto over\nr1 = map_by_fd(0)\nr2 = r10\ncall 1\nover:\nexit",
                           nullptr},
                    MapUse{"CallThatMayRun", BPF_MAP_TYPE_PROG_ARRAY,
                           "r0 = r1\nif r0 != 0 goto over\nr1 = map_by_fd(0)\nr2 = r10\ncall 1\nover:\nexit",
                           "cannot pass map_type 3 into func bpf_map_lookup_elem#1"}),
    [](const auto& info) { return std::string(info.param.name); });

// What a read-only and frozen map holds decides branches too, as global constants do in C.
TEST(Lowering, LooksAtNoCallThatAFrozenConstantKeepsFromRunning) {
  const auto machine = make_machine();
  const auto array = make_map(*machine, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
  const auto constants = make_map(*machine, BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_RDONLY_PROG);
  const uint32_t key = 0;
  const uint64_t value = 1;
  ASSERT_EQ(constants->write(&key, &value, BPF_ANY), 0);
  const auto code = assemble(R"(
    r3 = map_val(map_by_fd(1)) + 0
    r3 = *(u8 *)(r3 + 0)
    if r3 != 0 goto over
    r1 = map_by_fd(0)
    r2 = r10
    call 1
  over:
    r0 = 0
    exit)");
  const auto load = [&] { return try_program(*machine, code, "raw", "GPL", {array, constants}).has_value(); };
  EXPECT_FALSE(load()) << "user space may still write";
  constants->freeze();
  EXPECT_TRUE(load());
}

TEST(Lowering, ChargesBackwardJumpsByTheirSpanAndCallsByTheirCallee) {
  const auto machine = make_machine();
  const auto program = make_program(*machine, R"(
    r0 = 3
  again:
    r0 -= 1
    if r0 != 0 goto again
    call two
    goto done
  done:
    exit
  two:
    r0 = 7
    exit
  )");
  ASSERT_TRUE(program);
  EXPECT_EQ(program->code()[2].cost, 2U);
  EXPECT_EQ(program->code()[3].cost, 2U);
  EXPECT_EQ(program->code()[4].cost, 0U);
}

}  // namespace
}  // namespace skep::test
