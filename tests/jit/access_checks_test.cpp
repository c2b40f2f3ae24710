#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "engine_pair.hpp"
#include "maps/epoch.hpp"

// Checked code keeps regions that a function may access: each way in which one could be held for too long, or
// for too much.
namespace skep::jit {
namespace {

using vm::FaultKind;
using vm::Mode;

constexpr uint32_t kLookAround = 1;

class KeptRegions : public testing::Test {
 protected:
  static std::vector<vm::HelperRow> helpers() {
    using enum vm::Argument;
    // Grants its second argument's memory while the callback runs.
    const auto grant = [](std::span<const uint64_t, 5> a, vm::Cpu& cpu) -> uint64_t {
      const vm::ScopedGrant granted(cpu, reinterpret_cast<const void*>(a[1]), 8);
      return cpu.call_back(a[0], {a[1], 0, 0, 0, 0});
    };
    return {{.id = kLookAround, .name = "look_around", .custom = grant},
            {.id = 12,
             .name = "tail_call",
             .arguments = {kContext, kMap, kAnything},
             .special = vm::Special::kTailCall}};
  }

  uint64_t memory() { return reinterpret_cast<uintptr_t>(pair_.memory().data()); }
  uint64_t value(int map) { return reinterpret_cast<uintptr_t>(pair_.map(map).direct_value()); }
  static std::string value_in(const char* reg, int map) {
    return fmt::format("{} = map_val(map_by_fd({})) + 0\n", reg, map);
  }
  int add_array(uint32_t value_size, uint32_t flags = 0) {
    return pair_.add_map({.type = BPF_MAP_TYPE_ARRAY,
                          .key_size = 4,
                          .value_size = value_size,
                          .max_entries = 1,
                          .flags = flags,
                          .name = "values"});
  }
  int add_programs(const std::shared_ptr<vm::Program>& program) {
    const int map = pair_.add_map({.type = BPF_MAP_TYPE_PROG_ARRAY,
                                   .key_size = 4,
                                   .value_size = 4,
                                   .max_entries = 1,
                                   .name = "programs"});
    const maps::EpochDomain::TaskGuard guard(pair_.machine().epochs());
    EXPECT_EQ(pair_.map(map).set_object(0, program), 0);
    return map;
  }
  static std::string tail_call(int programs) {
    return fmt::format("r2 = map_by_fd({})\nr3 = 0\ncall 12\n", programs);
  }

  static void expect_fault(const Outcome& out, uint32_t pc, uint64_t address, uint64_t size, bool write) {
    EXPECT_TRUE(out.faulted);
    EXPECT_EQ(out.kind, FaultKind::kMemory);
    EXPECT_EQ(out.slot, pc);
    EXPECT_EQ(out.address, address);
    EXPECT_EQ(out.size, size);
    EXPECT_EQ(out.write, write);
  }

  EnginePair pair_{helpers()};
};

// The second access goes through the pointer whose region the first has kept.
TEST_F(KeptRegions, EndWhereTheRegionEnds) {
  const int map = add_array(16);
  for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
    const std::string load = value_in("r1", map) + fmt::format("r0 = *(u{} *)(r1 + 0)\n", bytes * 8);
    const std::string store = value_in("r1", map) + fmt::format("*(u{} *)(r1 + 0) = 1\n", bytes * 8);
    EXPECT_FALSE(
        pair_.run_both(load + fmt::format("r0 = *(u{} *)(r1 + {})\nexit", bytes * 8, 16 - bytes)).faulted);
    expect_fault(pair_.run_both(load + fmt::format("r0 = *(u{} *)(r1 + {})\nexit", bytes * 8, 17 - bytes)), 3,
                 value(map) + 17 - bytes, bytes, false);
    expect_fault(pair_.run_both(load + fmt::format("r0 = *(u{} *)(r1 - 1)\nexit", bytes * 8)), 3,
                 value(map) - 1, bytes, false);
    EXPECT_FALSE(
        pair_.run_both(store + fmt::format("*(u{} *)(r1 + {}) = 1\nr0 = 0\nexit", bytes * 8, 16 - bytes))
            .faulted);
    expect_fault(pair_.run_both(store + fmt::format("*(u{} *)(r1 + {}) = 1\nexit", bytes * 8, 17 - bytes)), 3,
                 value(map) + 17 - bytes, bytes, true);
    expect_fault(pair_.run_both(store + fmt::format("*(u{} *)(r1 - 1) = 1\nexit", bytes * 8)), 3,
                 value(map) - 1, bytes, true);
  }
}

TEST_F(KeptRegions, AreTooSmallForWiderAccesses) {
  for (const unsigned size : {1u, 2u, 3u, 4u, 7u}) {
    const int map = add_array(size);
    for (const unsigned bytes : {2u, 4u, 8u}) {
      if (bytes <= size) continue;
      const Outcome out = pair_.run_both(value_in("r1", map) + "r0 = *(u8 *)(r1 + 0)\n" +
                                         fmt::format("r0 = *(u{} *)(r1 + 0)\nexit", bytes * 8));
      expect_fault(out, 3, value(map), bytes, false);
      const Outcome end = pair_.run_both(value_in("r1", map) + "r0 = *(u8 *)(r1 + 0)\n" +
                                         fmt::format("r0 = *(u{} *)(r1 + {})\nexit", bytes * 8, size - 1));
      expect_fault(end, 3, value(map) + size - 1, bytes, false);
    }
  }
}

TEST_F(KeptRegions, OfAShortPacket) {
  for (const unsigned size : {1u, 3u, 7u, 8u}) {
    pair_.set_memory(std::vector<std::byte>(size));
    for (const unsigned bytes : {2u, 4u, 8u}) {
      const Outcome out = pair_.run_both(fmt::format(
          "r0 = *(u8 *)(r1 + 0)\nr0 = *(u{0} *)(r1 + 0)\nr0 = *(u{0} *)(r1 + 1)\nexit", bytes * 8));
      if (bytes + 1 <= size)
        EXPECT_FALSE(out.faulted);
      else
        expect_fault(out, bytes <= size ? 2 : 1, memory() + (bytes <= size ? 1 : 0), bytes, false);
    }
  }
}

TEST_F(KeptRegions, AddressesWrapAround) {
  const int map = add_array(16);
  const std::string keep = value_in("r1", map) + "r0 = *(u64 *)(r1 + 8)\nr2 = r1\n";
  // r3 counts down from the value's beginning, or past the end of all addresses.
  expect_fault(pair_.run_both(keep + "r3 = -1\nr1 += r3\nr0 = *(u64 *)(r1 + 0)\nexit"), 6, value(map) - 1, 8,
               false);
  expect_fault(pair_.run_both(keep + "r3 = -4\nr1 += r3\nr0 = *(u32 *)(r1 + 0)\nexit"), 6, value(map) - 4, 4,
               false);
  expect_fault(pair_.run_both(keep + "r1 -= r2\nr0 = *(u64 *)(r1 - 4)\nexit"), 5, uint64_t{0} - 4, 8, false);
  expect_fault(pair_.run_both(keep + "r1 -= r2\nr0 = *(u64 *)(r1 + 0)\nexit"), 5, 0, 8, false);
  // Round and back again it is the same address.
  EXPECT_FALSE(
      pair_.run_both(keep + "r3 = 0x8000000000000000 ll\nr1 += r3\nr1 += r3\nr0 = *(u64 *)(r1 + 8)\nexit")
          .faulted);
}

TEST_F(KeptRegions, OfReadingAreNotForWriting) {
  const int map = add_array(16, BPF_F_RDONLY_PROG);
  expect_fault(
      pair_.run_both(value_in("r1", map) + "r0 = *(u64 *)(r1 + 0)\n*(u64 *)(r1 + 0) = 1\nr0 = 0\nexit"), 3,
      value(map), 8, true);
  expect_fault(
      pair_.run_both(value_in("r1", map) + "r0 = *(u64 *)(r1 + 0)\nlock *(u64 *)(r1 + 0) += r0\nexit"), 3,
      value(map), 8, true);
}

TEST_F(KeptRegions, OfWritingAreNotForReading) {
  const int map = add_array(16, BPF_F_WRONLY_PROG);
  expect_fault(pair_.run_both(value_in("r1", map) + "*(u64 *)(r1 + 0) = 1\nr0 = *(u64 *)(r1 + 0)\nexit"), 3,
               value(map), 8, false);
  expect_fault(
      pair_.run_both(value_in("r1", map) + "*(u64 *)(r1 + 0) = 1\nr0 = load_acquire((u64 *)(r1 + 0))\nexit"),
      3, value(map), 8, false);
}

// A frame that begins where another one was must not take over what is left there: both programs have their
// caches in the same places.
TEST_F(KeptRegions, AreNotTheNextProgramsAfterATailCall) {
  for (const bool write : {false, true}) {
    const char* access = write ? "*(u64 *)(r6 + 0) = 1\n" : "r0 = *(u64 *)(r6 + 0)\n";
    const auto target =
        pair_.load(std::string("r6 = *(u64 *)(r1 + 0)\n") + access + "*(u64 *)(r1 + 0) = r6\nr0 = 0\nexit");
    const int programs = add_programs(target);
    const int map = add_array(16);
    const auto program = pair_.load("r7 = *(u64 *)(r1 + 0)\n" + value_in("r6", map) + access +
                                    "*(u64 *)(r1 + 0) = r6\n" + tail_call(programs) + "r0 = 0\nexit");
    const Outcome out = pair_.run(*program, vm::EngineKind::kJit);
    expect_fault(out, 1, value(map), 8, write);
    EXPECT_EQ(out.program, target.get());
  }
}

TEST_F(KeptRegions, AreNotTheNextRuns) {
  const auto program = pair_.load("r0 = *(u8 *)(r1 + 63)\nr0 = *(u64 *)(r1 + 0)\nexit");
  std::vector<std::byte> memory(64);
  vm::Cpu& cpu = pair_.cpu();
  const vm::CpuLock lock(cpu);
  const vm::RunOptions options{.engine = vm::EngineKind::kJit, .mode = Mode::kChecked};
  EXPECT_FALSE(vm::run_raw(cpu, *program, memory, options).faulted);
  EXPECT_TRUE(vm::run_raw(cpu, *program, std::span(memory).first(63), options).faulted);
  EXPECT_EQ(cpu.fault().address, reinterpret_cast<uintptr_t>(memory.data()) + 63);
  EXPECT_EQ(cpu.fault().slot, 0u);
}

TEST_F(KeptRegions, ACalleesFrameIsNobodysAfterwards) {
  const uint64_t stack = pair_.cpu().stack_begin;
  // f returns a pointer into its frame, which main has read its own frame by before.
  expect_fault(pair_.run_both("r6 = r10\nr6 += -8\nr0 = *(u64 *)(r6 + 0)\nr1 = r6\ncall f\nr6 += 512\n"
                              "r0 = *(u64 *)(r6 + 0)\nexit\nf:\nr1 += 512\nr0 = *(u64 *)(r1 + 0)\nexit"),
               6, stack + 1016, 8, false);
  // The same function, called from deeper down first.
  expect_fault(pair_.run_both("r1 = r10\nr1 += 1016\nr6 = r1\ncall g\nr1 = r6\ncall f\nexit\n"
                              "g:\ncall f\nexit\nf:\n*(u64 *)(r1 + 0) = 1\nexit"),
               9, stack + 1528, 8, true);
}

TEST_F(KeptRegions, ACallersStackStaysWithinReach) {
  const Outcome out = pair_.run_both(
      "*(u64 *)(r10 - 8) = 5\nr1 = r10\nr1 += -8\ncall f\nr0 = *(u64 *)(r10 - 8)\nexit\n"
      "f:\nr0 = *(u64 *)(r1 + 0)\nr0 += 2\n*(u64 *)(r1 + 0) = r0\nr2 = r10\nr2 += -512\n"
      "*(u64 *)(r2 + 0) = r0\n*(u64 *)(r2 + 504) = r0\nexit");
  EXPECT_FALSE(out.faulted);
  EXPECT_EQ(out.r0, 7u);
}

TEST_F(KeptRegions, WhatIsGrantedToACallbackIsItsAlone) {
  std::vector<std::byte> elsewhere(8, std::byte{1});
  std::vector<std::byte> memory(64);
  const uint64_t address = reinterpret_cast<uintptr_t>(elsewhere.data());
  std::memcpy(memory.data(), &address, sizeof address);
  pair_.set_memory(memory);
  const std::string text =
      "r6 = *(u64 *)(r1 + 0)\nr1 = code_addr(f)\nr2 = r6\ncall 1\nr0 = *(u64 *)(r6 + 0)\nexit\n"
      "f:\nr0 = *(u64 *)(r1 + 0)\nr0 = *(u64 *)(r1 + 0)\n*(u64 *)(r1 + 0) = r0\nexit";
  expect_fault(pair_.run_both(text), 5, address, 8, false);
  // Twice in one callback, and again in the next: each time it is looked for.
  const Outcome twice = pair_.run_both(
      "r6 = *(u64 *)(r1 + 0)\nr1 = code_addr(f)\nr2 = r6\ncall 1\nr1 = code_addr(f)\nr2 = r6\ncall 1\nexit\n"
      "f:\nr0 = *(u64 *)(r1 + 0)\n*(u64 *)(r1 + 0) = r0\nr0 = 3\nexit");
  EXPECT_FALSE(twice.faulted);
  EXPECT_EQ(twice.r0, 3u);
}

// More pointers than a function has caches: some share one.
TEST_F(KeptRegions, ManyPointers) {
  std::string text;
  std::vector<int> maps;
  for (int n = 0; n < 24; ++n) maps.push_back(add_array(8));
  for (int turn = 0; turn < 2; ++turn)
    for (const int map : maps)
      text += value_in("r1", map) + "r2 = *(u64 *)(r1 + 0)\nr2 += 1\n*(u64 *)(r1 + 0) = r2\nr0 += r2\n";
  const auto program = pair_.load(text + "exit");
  const auto run = [&](vm::EngineKind engine) {
    for (const int map : maps) *reinterpret_cast<uint64_t*>(value(map)) = 0;
    return pair_.run(*program, engine);
  };
  EXPECT_EQ(run(vm::EngineKind::kJit).r0, 24u * 3);
  EXPECT_EQ(run(vm::EngineKind::kInterpreter).r0, 24u * 3);
  expect_fault(pair_.run_both(text + "r2 = *(u64 *)(r1 + 1)\nexit"), 24 * 2 * 6, value(maps.back()) + 1, 8,
               false);
}

// Checks leave every register and the fuel as they were.
TEST_F(KeptRegions, AreFoundWithoutATrace) {
  const int map = add_array(16);
  std::string text = value_in("r9", map);
  for (int n = 0; n <= 8; ++n) text += fmt::format("r{} = {}\n", n, n + 1);
  text += "*(u64 *)(r9 + 8) = 10\nr9 = *(u64 *)(r9 + 8)\n";
  for (int n = 1; n <= 9; ++n) text += fmt::format("r0 += r{}\n", n);
  const Outcome out =
      pair_.run_both("r6 = 2\nagain:\nr6 -= 1\nif r6 != 0 goto again\n" + text + "exit", Mode::kChecked, 100);
  EXPECT_EQ(out.r0, 55u);
  EXPECT_EQ(out.fuel, 98);
}

}  // namespace
}  // namespace skep::jit
