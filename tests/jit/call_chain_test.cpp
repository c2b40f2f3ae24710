#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "engine_pair.hpp"
#include "helpers/helpers.hpp"
#include "maps/epoch.hpp"

// Which calls led to a helper, in both engines and modes.
namespace skep::jit {
namespace {

using vm::Mode;

// Writes the chain to the raw program's memory and returns its length.
uint64_t walk(uint64_t r1, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  std::array<uint64_t, vm::kMaxFrames> memory{};
  const auto chain = cpu.call_chain(memory);
  std::memcpy(reinterpret_cast<void*>(r1), chain.data(), chain.size_bytes());
  return chain.size();
}

std::vector<vm::HelperRow> helpers() {
  const auto rows = skep::helpers::builtin_helpers();
  std::vector<vm::HelperRow> all{rows.begin(), rows.end()};
  all.push_back({.id = 900,
                 .name = "walk",
                 .arguments = {vm::Argument::kAnything},
                 .walks_stack = true,
                 .function = walk});
  return all;
}

class CallChains : public testing::Test {
 protected:
  struct Place {
    const vm::Program* program;
    uint32_t slot;
  };
  void expect_chain(const vm::Program& program, const std::vector<Place>& expected) {
    for (const Mode mode : kModes) {
      const Outcome out = pair_.run_both(program, mode);
      EXPECT_FALSE(out.faulted) << out;
      EXPECT_EQ(out.r0, expected.size());
      for (size_t n = 0; n < expected.size(); ++n) {
        uint64_t place = 0;
        std::memcpy(&place, out.memory.data() + n * sizeof place, sizeof place);
        EXPECT_EQ(place, uint64_t{expected[n].program->id()} << 32 | expected[n].slot) << n;
      }
    }
  }
  void expect_slots(const std::string& text, const std::vector<uint32_t>& slots) {
    const auto program = pair_.load(text);
    ASSERT_NE(program, nullptr);
    std::vector<Place> places;
    for (const uint32_t slot : slots) places.push_back({program.get(), slot});
    expect_chain(*program, places);
  }
  EnginePair pair_{helpers()};
};

TEST_F(CallChains, OfTheProgramItself) {
  expect_slots("call 900\nexit", {0});
  expect_slots("r2 = 1 ll\ncall 900\nexit", {2});
}

TEST_F(CallChains, OfFunctions) {
  expect_slots("call f\nexit\nf:\nr2 = 0\ncall 900\nexit", {3, 0});
  // Slots 0 to 9; g is called twice, the second time by h.
  expect_slots("r6 = r1\ncall g\nr1 = r6\ncall h\nexit\nh:\ncall g\nexit\ng:\ncall 900\nexit", {7, 5, 3});
}

TEST_F(CallChains, OfTheDeepestStack) {
  std::string text = "call f1\nexit\n";
  for (int n = 1; n < 7; ++n)
    text += "f" + std::to_string(n) + ":\ncall f" + std::to_string(n + 1) + "\nexit\n";
  expect_slots(text + "f7:\ncall 900\nexit", {14, 12, 10, 8, 6, 4, 2, 0});
}

TEST_F(CallChains, OfHelpersCalledByRegister) {
  expect_slots("call f\nexit\nf:\nr0 = 900\ncallx r0\nexit", {3, 0});
}

TEST_F(CallChains, OfCallbacks) {
  // bpf_loop(1, f, memory, 0); what f finds is the length, left in memory behind the chain.
  const auto program = pair_.load(
      "r6 = r1\nr1 = 1\nr2 = code_addr(f)\nr3 = r6\nr4 = 0\ncall 181\nr0 = *(u64 *)(r6 + 56)\nexit\n"
      "f:\nr6 = r2\nr1 = r2\ncall g\n*(u64 *)(r6 + 56) = r0\nr0 = 0\nexit\ng:\ncall 900\nexit");
  ASSERT_NE(program, nullptr);
  const uint32_t call_181 = 6;  // the function's address takes two slots
  expect_chain(*program, {{program.get(), 15}, {program.get(), 11}, {program.get(), call_181}});
}

TEST_F(CallChains, OfWalksThroughMaps) {
  for (const uint32_t type : {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH}) {
    const int map =
        pair_.add_map({.type = type, .key_size = 4, .value_size = 8, .max_entries = 1, .name = {}});
    if (type == BPF_MAP_TYPE_HASH) pair_.add_element(map, 0);
    // bpf_for_each_map_elem(map, f, memory, 0), as above, after a call that is over.
    const auto program =
        pair_.load("r6 = r1\ncall h\nr1 = map_by_fd(" + std::to_string(map) +
                   ")\nr2 = code_addr(f)\nr3 = r6\nr4 = 0\ncall 164\nr0 = *(u64 *)(r6 + 56)\nexit\n"
                   "f:\nr6 = r4\nr1 = r4\ncall g\n*(u64 *)(r6 + 56) = r0\nr0 = 0\nexit\ng:\ncall 900\nexit\n"
                   "h:\ncall 900\nexit");
    ASSERT_NE(program, nullptr);
    expect_chain(*program, {{program.get(), 17}, {program.get(), 13}, {program.get(), 8}});
  }
}

TEST_F(CallChains, OfProgramsInThePlaceOfFunctions) {
  const int array = pair_.add_map(
      {.type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1, .name = {}});
  const auto last = pair_.load("call f\nexit\nf:\ncall 900\nexit");
  const auto first = pair_.load("call f\nexit\nf:\nr2 = map_by_fd(" + std::to_string(array) +
                                ")\nr3 = 0\ncall 12\nr0 = 0\nexit");
  ASSERT_NE(first, nullptr);
  {
    const maps::EpochDomain::TaskGuard guard(pair_.machine().epochs());
    ASSERT_EQ(pair_.map(array).set_object(0, last), 0);
  }
  expect_chain(*first, {{last.get(), 2}, {last.get(), 0}, {first.get(), 0}});
  expect_chain(*last, {{last.get(), 2}, {last.get(), 0}});
}

}  // namespace
}  // namespace skep::jit
