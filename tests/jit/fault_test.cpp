#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "engine_pair.hpp"

namespace skep::jit {
namespace {

using vm::FaultKind;
using vm::Mode;

class Faults : public testing::Test {
 protected:
  uint64_t memory() { return reinterpret_cast<uintptr_t>(pair_.memory().data()); }
  uint64_t memory_end() { return memory() + pair_.memory().size(); }

  // `pc` counts slots.
  void expect_fault(const Outcome& out, FaultKind kind, uint32_t pc, uint64_t address = 0, uint64_t size = 0,
                    bool write = false) {
    EXPECT_TRUE(out.faulted);
    EXPECT_EQ(out.kind, kind);
    EXPECT_EQ(out.slot, pc);
    EXPECT_EQ(out.address, address);
    EXPECT_EQ(out.size, size);
    EXPECT_EQ(out.write, write);
  }

  EnginePair pair_;
};

TEST_F(Faults, LoadOfEachWidth) {
  for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
    // The last ones that are allowed, and one byte further; the 64-bit immediate takes two slots.
    const Outcome out =
        pair_.run_both(fmt::format("r3 = 1 ll\nr0 = *(u{0} *)(r1 + {1})\nr0 = *(u{0} *)(r1 + {2})\nexit",
                                   bytes * 8, 64 - bytes, 65 - bytes));
    expect_fault(out, FaultKind::kMemory, 3, memory_end() - bytes + 1, bytes);
  }
}

TEST_F(Faults, StoreOfEachWidth) {
  for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
    for (const char* value : {"r2", "5"}) {
      const Outcome out = pair_.run_both(
          fmt::format("*(u{0} *)(r1 + 0) = {1}\n*(u{0} *)(r1 - 1) = {1}\nr0 = 0\nexit", bytes * 8, value));
      expect_fault(out, FaultKind::kMemory, 1, memory() - 1, bytes, true);
      EXPECT_NE(out.memory[0], std::byte{0});  // the store before it was done
    }
  }
}

TEST_F(Faults, Atomics) {
  const char* const updates[] = {"lock *(u64 *)(r1 + 64) += r2",
                                 "r2 = atomic_fetch_xor((u64 *)(r1 + 64), r2)", "r2 = xchg_64(r1 + 64, r2)",
                                 "r0 = cmpxchg_64(r1 + 64, r0, r2)", "store_release((u64 *)(r1 + 64), r2)"};
  for (const char* update : updates)
    expect_fault(pair_.run_both(std::string(update) + "\nexit"), FaultKind::kMemory, 0, memory_end(), 8,
                 true);
  expect_fault(pair_.run_both("r0 = load_acquire((u64 *)(r1 + 64))\nexit"), FaultKind::kMemory, 0,
               memory_end(), 8);
}

TEST_F(Faults, MisalignedAtomics) {
  expect_fault(pair_.run_both("lock *(u64 *)(r1 + 12) += r2\nexit"), FaultKind::kMisaligned, 0, memory() + 12,
               8);
  expect_fault(pair_.run_both("lock *(u32 *)(r1 + 2) += w2\nexit"), FaultKind::kMisaligned, 0, memory() + 2,
               4);
  expect_fault(pair_.run_both("r0 = 1\nw0 = load_acquire((u16 *)(r1 + 1))\nexit"), FaultKind::kMisaligned, 1,
               memory() + 1, 2);
  expect_fault(pair_.run_both("store_release((u16 *)(r1 + 3), w2)\nexit"), FaultKind::kMisaligned, 0,
               memory() + 3, 2);
  expect_fault(pair_.run_both("lock *(u64 *)(r10 - 12) += r2\nexit"), FaultKind::kMisaligned, 0,
               pair_.cpu().stack_begin + 500, 8);
  // Memory comes first.
  expect_fault(pair_.run_both("lock *(u64 *)(r1 + 60) += r2\nexit"), FaultKind::kMemory, 0, memory() + 60, 8,
               true);
}

TEST_F(Faults, EdgesOfTheStack) {
  const uint64_t stack = pair_.cpu().stack_begin;
  EXPECT_FALSE(pair_.run_both("*(u64 *)(r10 - 512) = 1\nr0 = 0\nexit").faulted);
  expect_fault(pair_.run_both("*(u64 *)(r10 - 513) = 1\nexit"), FaultKind::kMemory, 0, stack - 1, 8, true);
  // Frames that no function is in yet are nobody's.
  expect_fault(pair_.run_both("*(u64 *)(r10 - 7) = 1\nexit"), FaultKind::kMemory, 0, stack + 505, 8, true);
  expect_fault(pair_.run_both("r0 = *(u8 *)(r10 + 0)\nexit"), FaultKind::kMemory, 0, stack + 512, 1);
  EXPECT_FALSE(pair_.run_both("call f\nexit\nf:\n*(u64 *)(r10 - 1024) = 1\nexit").faulted);
  expect_fault(pair_.run_both("call f\nexit\nf:\n*(u64 *)(r10 - 1025) = 1\nexit"), FaultKind::kMemory, 2,
               stack - 1, 8, true);
}

TEST_F(Faults, TheLastFrameEndsTheStack) {
  std::string deep;
  for (int n = 1; n < 8; ++n) deep += fmt::format("call f{0}\nexit\nf{0}:\n", n);
  const uint64_t end = pair_.cpu().stack_end;
  EXPECT_FALSE(pair_.run_both(deep + "*(u64 *)(r10 - 8) = 1\nexit").faulted);
  expect_fault(pair_.run_both(deep + "*(u64 *)(r10 - 7) = 1\nexit"), FaultKind::kMemory, 14, end - 7, 8,
               true);
  expect_fault(pair_.run_both(deep + "r0 = *(u8 *)(r10 + 0)\nexit"), FaultKind::kMemory, 14, end, 1);
}

TEST_F(Faults, AddressesThatWrapAround) {
  for (const char* address : {"-1", "-8", "0", "0x7fffffffffffffff ll"})
    for (const char* width : {"8", "16", "32", "64"})
      EXPECT_TRUE(pair_.run_both(std::string("r1 = ") + address + "\nr0 = *(u" + width + " *)(r1 + 0)\nexit")
                      .faulted);
  pair_.set_memory({});
  EXPECT_TRUE(pair_.run_both("r0 = *(u8 *)(r1 + 0)\nexit").faulted);
}

TEST_F(Faults, AMapValueReadFirstIsFoundAgain) {
  const int map = pair_.add_map(
      {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 16, .max_entries = 1, .name = "values"});
  const std::string value = "r1 = map_val(map_by_fd(" + std::to_string(map) + ")) + 0\n";
  const Outcome out = pair_.run_both(value +
                                     "*(u64 *)(r1 + 8) = 7\nr0 = *(u64 *)(r1 + 8)\nr2 = *(u32 *)(r1 + 12)\n"
                                     "r0 += r2\n*(u8 *)(r1 + 15) = 0\nexit");
  EXPECT_FALSE(out.faulted);
  EXPECT_EQ(out.r0, 7u);
  const Outcome beyond = pair_.run_both(value + "r0 = *(u8 *)(r1 + 15)\nr0 = *(u16 *)(r1 + 15)\nexit");
  expect_fault(beyond, FaultKind::kMemory, 3, reinterpret_cast<uintptr_t>(pair_.map(map).direct_value()) + 15,
               2);
}

TEST_F(Faults, FuelRunsOutAtTheJump) {
  // Three instructions a turn: the 34th costs the 102nd unit.
  const char* loop = "r0 = 0\nagain:\nr0 += 1\nr1 = r0\ngoto again";
  expect_fault(pair_.run_both(loop, Mode::kChecked, 100), FaultKind::kFuel, 3);
  const char* bounded = "r0 = 0\nagain:\nr0 += 1\nif r0 < 34 goto again\nexit";
  const Outcome enough = pair_.run_both(bounded, Mode::kChecked, 66);
  EXPECT_FALSE(enough.faulted);
  EXPECT_EQ(enough.fuel, 0);
  expect_fault(pair_.run_both(bounded, Mode::kChecked, 65), FaultKind::kFuel, 2);
}

TEST_F(Faults, FuelRunsOutAtACall) {
  const char* call = "r0 = 0\ncall f\nexit\nf:\nr0 += 1\nr0 += 1\nexit";
  EXPECT_FALSE(pair_.run_both(call, Mode::kChecked, 3).faulted);
  expect_fault(pair_.run_both(call, Mode::kChecked, 2), FaultKind::kFuel, 1);
}

TEST_F(Faults, TooManyFrames) {
  const char* recursion = "f:\nr6 += 1\ncall f\nexit";
  expect_fault(pair_.run_both(recursion), FaultKind::kCallDepth, 1);
}

TEST_F(Faults, TheStackIsUnwoundFromAnyDepth) {
  const Outcome out = pair_.run_both(
      "call f\nexit\nf:\nr6 = 1\ncall g\nexit\ng:\ncall h\nexit\nh:\nr0 = *(u64 *)(r0 + 0)\nexit");
  expect_fault(out, FaultKind::kMemory, 7, 0, 8);
  // And the CPU runs on.
  EXPECT_EQ(pair_.run_both("r0 = 42\nexit").r0, 42u);
}

}  // namespace
}  // namespace skep::jit
