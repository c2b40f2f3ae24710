#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "engine_pair.hpp"
#include "maps/epoch.hpp"

namespace skep::jit {
namespace {

using vm::FaultKind;
using vm::Mode;

// Where helpers found the native stack.
struct Depths {
  std::vector<uintptr_t> seen;
};

// With calls carried out in place where the array is known, and without.
class TailCalls : public testing::TestWithParam<bool> {
 protected:
  static std::vector<vm::HelperRow> helpers(Depths& depths) {
    const auto note = [&depths](std::span<const uint64_t, 5>, vm::Cpu&) -> uint64_t {
      depths.seen.push_back(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
      return 0;
    };
    using enum vm::Argument;
    return {{.id = 1, .name = "note", .custom = note},
            {.id = 12,
             .name = "tail_call",
             .arguments = {kContext, kMap, kAnything},
             .special = vm::Special::kTailCall}};
  }

  void put(uint32_t index, const std::shared_ptr<vm::Program>& program) {
    const maps::EpochDomain::TaskGuard guard(pair_.machine().epochs());
    ASSERT_EQ(pair_.map(array_).set_object(index, program), 0);
  }
  std::shared_ptr<vm::Program> load(const std::string& text) {
    const auto all = vm::PassSet::all();
    return pair_.load(text, GetParam() ? all : all.without(vm::Pass::kKnownCalls));
  }
  static std::string call(unsigned index) {
    return "r2 = map_by_fd(0)\nr3 = " + std::to_string(index) + "\ncall 12\n";
  }
  void expect_result(const vm::Program& program, uint64_t r0, uint32_t tail_calls) {
    for (const Mode mode : kModes) {
      const Outcome out = pair_.run_both(program, mode);
      EXPECT_FALSE(out.faulted) << out;
      EXPECT_EQ(out.r0, r0);
      EXPECT_EQ(out.tail_calls, tail_calls);
    }
  }

  Depths depths_;
  EnginePair pair_{helpers(depths_)};
  int array_ = pair_.add_map({.type = BPF_MAP_TYPE_PROG_ARRAY,
                              .key_size = 4,
                              .value_size = 4,
                              .max_entries = 4,
                              .name = "programs"});
};

TEST_P(TailCalls, TheTargetGetsTheContextAndItsResultCounts) {
  put(1, load("r0 = *(u8 *)(r1 + 3)\nexit"));
  std::vector<std::byte> memory(8);
  memory[3] = std::byte{77};
  pair_.set_memory(memory);
  expect_result(*load(call(1) + "r0 = 5\nexit"), 77, 1);
}

TEST_P(TailCalls, FallThrough) {
  // No program there; out of the array.
  expect_result(*load(call(2) + "r0 += 5\nexit"), 5, 1);
  expect_result(*load(call(4) + "r0 += 6\nexit"), 6, 0);
  const Outcome out = pair_.run_both(*load(call(4) + "r0 = r1\nr0 |= r2\nr0 |= r3\nexit"));
  EXPECT_EQ(out.r0, 0u);
}

TEST_P(TailCalls, ThirtyThreeOnOneNativeFrame) {
  // Counts the entries in the raw memory.
  const auto self = load("r6 = r1\nr2 = *(u64 *)(r1 + 0)\nr2 += 1\n*(u64 *)(r1 + 0) = r2\ncall 1\nr1 = r6\n" +
                         call(0) + "r0 = *(u64 *)(r6 + 0)\nexit");
  put(0, self);
  expect_result(*self, 34, 33);
  depths_.seen.clear();
  pair_.run(*self, vm::EngineKind::kJit);
  ASSERT_EQ(depths_.seen.size(), 34u);
  EXPECT_EQ(std::ranges::count(depths_.seen, depths_.seen.front()), 34);
  put(0, nullptr);
}

TEST_P(TailCalls, FromAFunctionTheCallerGoesOn) {
  put(3,
      load("r6 = 1\nr7 = 1\nr8 = 1\nr9 = 1\nr0 = 30\ncall f\nexit\nf:\nr6 = 0\nmay_goto +0\nr0 = 40\nexit"));
  expect_result(*load("r6 = 600\nr9 = 9000\ncall f\nr0 += r6\nr0 += r9\nexit\nf:\nmay_goto +0\nr6 = 7\n" +
                      call(3) + "r0 = 1\nexit"),
                9640, 1);
}

TEST_P(TailCalls, TheTargetSeesFreshRegisters) {
  put(0, load("r0 |= r2\nr0 |= r3\nr0 |= r4\nr0 |= r5\nr0 |= r6\nr0 |= r7\nr0 |= r8\nr0 |= r9\nexit"));
  const auto program =
      load("r4 = 4\nr5 = 5\nr6 = 6\nr7 = 7\nr8 = 8\nr9 = 9\nr0 = 1\n" + call(0) + "r0 = 1\nexit");
  const Outcome out = pair_.run_both(*program);
  EXPECT_FALSE(out.faulted);
  EXPECT_EQ(out.r0, 0u);
}

TEST_P(TailCalls, FaultsNameTheProgramTheyHappenIn) {
  const auto target = load("r0 = 1\nr0 = *(u8 *)(r0 + 0)\nexit");
  put(0, target);
  const auto program = load("call f\nexit\nf:\n" + call(0) + "exit");
  const Outcome out = pair_.run_both(*program);
  EXPECT_EQ(out.kind, FaultKind::kMemory);
  EXPECT_EQ(out.program, target.get());
  EXPECT_EQ(out.slot, 1u);
  // Back in the caller it is the caller's.
  put(1, load("r0 = 1\nexit"));
  const auto after = load("call f\nr0 = *(u8 *)(r0 + 0)\nexit\nf:\n" + call(1) + "exit");
  EXPECT_EQ(pair_.run_both(*after).program, after.get());
}

// What a program touched last is tried first at each access: not when another program runs.
TEST_P(TailCalls, TheTargetMayNotTouchWhatTheCallerTouchedLast) {
  const int values = pair_.add_map(
      {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 16, .max_entries = 1, .name = "values"});
  const std::string value = "r2 = map_val(map_by_fd(" + std::to_string(values) + ")) + 0\n";
  pair_.set_memory(std::vector<std::byte>(8));
  const auto reader = load("r2 = *(u64 *)(r1 + 0)\nr0 = *(u64 *)(r2 + 0)\nexit");
  const auto writer = load("r2 = *(u64 *)(r1 + 0)\n*(u64 *)(r2 + 0) = 1\nexit");
  const auto program = load(value +
                            "r3 = *(u64 *)(r2 + 0)\n*(u64 *)(r2 + 0) = r3\n"
                            "*(u64 *)(r1 + 0) = r2\n" +
                            call(0) + "exit");
  for (const auto& target : {reader, writer}) {
    put(0, target);
    const Outcome out = pair_.run_both(*program);
    EXPECT_EQ(out.kind, FaultKind::kMemory);
    EXPECT_EQ(out.program, target.get());
    EXPECT_EQ(out.slot, 1u);
    EXPECT_EQ(out.write, target == writer);
  }
}

TEST_P(TailCalls, TheCallerMayNotTouchWhatTheTargetTouchedLast) {
  const int values = pair_.add_map(
      {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 16, .max_entries = 1, .name = "values"});
  const std::string value = "r2 = map_val(map_by_fd(" + std::to_string(values) + ")) + 0\n";
  pair_.set_memory(std::vector<std::byte>(8));
  put(0, load(value + "r3 = *(u64 *)(r2 + 0)\n*(u64 *)(r2 + 0) = r3\n*(u64 *)(r1 + 0) = r2\nexit"));
  for (const std::string access : {"r0 = *(u64 *)(r2 + 0)\n", "*(u64 *)(r2 + 0) = 1\n"}) {
    const auto program =
        load("r6 = r1\ncall f\nr2 = *(u64 *)(r6 + 0)\n" + access + "exit\nf:\n" + call(0) + "exit");
    const Outcome out = pair_.run_both(*program);
    EXPECT_EQ(out.kind, FaultKind::kMemory);
    EXPECT_EQ(out.program, program.get());
    EXPECT_EQ(out.slot, 3u);
  }
}

TEST_P(TailCalls, CostFuel) {
  put(0, load("r0 = 1\nr0 = 2\nr0 = 3\nexit"));
  const auto program = load(call(0) + "r0 = 9\nexit");
  EXPECT_EQ(pair_.run_both(*program, Mode::kChecked, 4).fuel, 0);
  const Outcome out = pair_.run_both(*program, Mode::kChecked, 3);
  EXPECT_EQ(out.kind, FaultKind::kFuel);
  EXPECT_EQ(out.slot, 3u);
}

TEST_P(TailCalls, OnlyThroughAProgramArray) {
  const Outcome out = pair_.run_both("r2 = r1\nr3 = 0\ncall 12\nexit");
  EXPECT_EQ(out.kind, FaultKind::kBadCall);
  EXPECT_EQ(out.slot, 2u);
  EXPECT_EQ(out.helper, "tail_call");
}

TEST_P(TailCalls, ThroughAnArrayThatIsNotKnown) {
  pair_.add_map(
      {.type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1, .name = "others"});
  put(0, load("r0 = 3\nexit"));
  expect_result(*load("r4 = *(u8 *)(r1 + 0)\nr2 = map_by_fd(1)\nif r4 != 0 goto call\nr2 = map_by_fd(0)\n"
                      "call:\nr3 = 0\ncall 12\nr0 = 9\nexit"),
                3, 1);
}

TEST_P(TailCalls, TheIndexHas32Bits) {
  put(1, load("r0 = 3\nexit"));
  expect_result(*load("r2 = map_by_fd(0)\nr3 = 0xffffffff00000001 ll\ncall 12\nr0 = 9\nexit"), 3, 1);
}

// One program after another in the slot that running code looks at.
TEST_P(TailCalls, ToWhatIsThereNow) {
  const auto program = load(call(2) + "r0 += 9\nexit");
  expect_result(*program, 9, 1);
  put(2, load("r0 = 1\nexit"));
  expect_result(*program, 1, 1);
  put(2, load("r0 = 2\nexit"));
  expect_result(*program, 2, 1);
  put(2, nullptr);
  expect_result(*program, 9, 1);
}

INSTANTIATE_TEST_SUITE_P(KnownOrNot, TailCalls, testing::Bool(),
                         [](const auto& info) { return info.param ? "Known" : "Ordinary"; });

}  // namespace
}  // namespace skep::jit
