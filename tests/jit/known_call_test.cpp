#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "engine_pair.hpp"
#include "helpers/helpers.hpp"
#include "maps/epoch.hpp"
#include "vm/pass.hpp"

// Helpers that the engines carry out in place (vm::KnownCall), and the same helpers called.
namespace skep::jit {
namespace {

using vm::FaultKind;
using vm::Mode;
using vm::PassSet;

constexpr unsigned kCpu = 2;

uint64_t error(int code) { return static_cast<uint64_t>(-static_cast<int64_t>(code)); }

class KnownCalls : public testing::Test {
 protected:
  static std::vector<vm::HelperRow> helpers() {
    const auto rows = skep::helpers::builtin_helpers();
    return {rows.begin(), rows.end()};
  }
  static size_t known(const vm::Program& program) {
    return program.optimized(Mode::kVerified).known_calls.size();
  }

  // On both engines, with the calls known and not, in one mode; one outcome.
  Outcome run(const std::string& text, Mode mode, uint64_t fuel = EnginePair::kFuel, size_t calls = 1) {
    const auto program = pair_.load(text);
    const auto ordinary = pair_.load(text, PassSet::all().without(vm::Pass::kKnownCalls));
    EXPECT_EQ(known(*program), calls) << text;
    EXPECT_EQ(known(*ordinary), 0u);
    Outcome expected = pair_.run_both(*ordinary, mode, fuel);
    Outcome actual = pair_.run_both(*program, mode, fuel);
    expected.program = actual.program = nullptr;
    EXPECT_EQ(actual, expected) << text;
    return actual;
  }
  // In both modes.
  void expect_result(const std::string& text, uint64_t r0, size_t calls = 1) {
    for (const Mode mode : kModes) {
      const Outcome out = run(text, mode, EnginePair::kFuel, calls);
      EXPECT_FALSE(out.faulted) << out;
      EXPECT_EQ(out.r0, r0) << text;
    }
  }
  Outcome expect_fault(const std::string& text, FaultKind kind, uint64_t fuel = EnginePair::kFuel,
                       size_t calls = 1) {
    const Outcome out = run(text, Mode::kChecked, fuel, calls);
    EXPECT_EQ(out.kind, kind) << text << out;
    return out;
  }

  EnginePair pair_{helpers(), default_jit_options(), kCpu};
};

TEST_F(KnownCalls, TheProcessorsNumber) {
  expect_result("r1 = 7\ncall 8\nexit", kCpu);
  EXPECT_EQ(pair_.run_both("r1 = 7\nr5 = 9\ncall 8\nr0 += r1\nr0 += r5\nexit").r0, kCpu)
      << "what a call leaves undefined reads as 0";
}

class Lookups : public KnownCalls {
 protected:
  // Values that say where they are: the key's first byte and, per-CPU, the CPU's number.
  int add(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t flags = 0) {
    const int number = pair_.add_map({.type = type,
                                      .key_size = key_size,
                                      .value_size = value_size,
                                      .max_entries = 5,
                                      .flags = flags,
                                      .name = "values"});
    maps::Map& map = pair_.map(number);
    const maps::EpochDomain::TaskGuard guard(pair_.machine().epochs());
    for (uint8_t n = 0; n < 5; ++n) {
      std::vector<std::byte> key(key_size);
      key[0] = std::byte{n};
      for (unsigned cpu = 0; cpu <= kCpu; ++cpu) {
        std::vector<std::byte> value(value_size);
        value[0] = static_cast<std::byte>(10 * n + cpu);
        map.update(key.data(), value.data(), 0, cpu);
      }
    }
    return number;
  }
  static std::string lookup(int map, unsigned key, unsigned key_size) {
    std::string text = "r6 = r1\n";
    for (unsigned at = 0; at < key_size; at += 4) {
      const std::string place = "*(u32 *)(r10 + " + std::to_string(static_cast<int>(at) - 64) + ") = ";
      text += place + (at == 0 ? std::to_string(key) : "0") + "\n";
    }
    return text + "r2 = r10\nr2 += -64\nr1 = map_by_fd(" + std::to_string(map) + ")\ncall 1\n";
  }
  static constexpr const char* kFirstByte =
      "if r0 == 0 goto none\nr0 = *(u8 *)(r0 + 0)\nexit\nnone:\nr0 = 99\nexit";
};

TEST_F(Lookups, InArrays) {
  for (const uint32_t value_size : {1u, 8u, 12u, 24u, 64u, 100u}) {
    SCOPED_TRACE(value_size);
    const int array = add(BPF_MAP_TYPE_ARRAY, 4, value_size);
    const int per_cpu = add(BPF_MAP_TYPE_PERCPU_ARRAY, 4, value_size);
    for (const unsigned key : {0u, 1u, 4u}) {
      expect_result(lookup(array, key, 4) + kFirstByte, 10 * key + kCpu);
      expect_result(lookup(per_cpu, key, 4) + kFirstByte, 10 * key + kCpu);
    }
    for (const int map : {array, per_cpu}) {
      expect_result(lookup(map, 5, 4) + kFirstByte, 99);
      expect_result(lookup(map, 0x7fffffff, 4) + kFirstByte, 99);
    }
  }
}

TEST_F(Lookups, InHashTables) {
  for (const uint32_t type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH})
    for (const uint32_t key_size : {4u, 8u, 12u, 16u, 20u}) {
      SCOPED_TRACE(key_size);
      const int map = add(type, key_size, 8);
      for (const unsigned key : {0u, 3u, 4u})
        expect_result(lookup(map, key, key_size) + kFirstByte, 10 * key + kCpu);
      expect_result(lookup(map, 5, key_size) + kFirstByte, 99);
    }
}

TEST_F(Lookups, TheValueIsKnownToTheChecks) {
  for (const uint32_t type : {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_HASH}) {
    const int map = add(type, 4, 12);
    expect_result(
        lookup(map, 3, 4) + "*(u32 *)(r0 + 8) = 5\n*(u8 *)(r0 + 0) = 32\nr0 = *(u32 *)(r0 + 8)\nexit", 5);
    // A read one byte past the value, a write one before it.
    EXPECT_EQ(expect_fault(lookup(map, 3, 4) + "r0 = *(u32 *)(r0 + 9)\nexit", FaultKind::kMemory).size, 4u);
    EXPECT_TRUE(expect_fault(lookup(map, 3, 4) + "*(u8 *)(r0 + -1) = 1\nexit", FaultKind::kMemory).write);
  }
}

TEST_F(Lookups, WhatProgramsMayNotWriteStaysSo) {
  const int map = add(BPF_MAP_TYPE_ARRAY, 4, 8, BPF_F_RDONLY_PROG);
  expect_result(lookup(map, 2, 4) + kFirstByte, 20 + kCpu);
  EXPECT_TRUE(expect_fault(lookup(map, 2, 4) + "*(u8 *)(r0 + 0) = 1\nexit", FaultKind::kMemory).write);
  // What they may not read is not found: an ordinary call.
  const int closed = add(BPF_MAP_TYPE_ARRAY, 4, 8, BPF_F_WRONLY_PROG);
  for (const Mode mode : kModes) EXPECT_EQ(run(lookup(closed, 2, 4) + "exit", mode, 1000, 0).r0, 0u);
}

TEST_F(Lookups, KeysElsewhere) {
  const int array = add(BPF_MAP_TYPE_ARRAY, 4, 8);
  const int hash = add(BPF_MAP_TYPE_HASH, 8, 8);
  std::vector<std::byte> memory(16);
  memory[8] = std::byte{3};
  pair_.set_memory(memory);
  for (const int map : {array, hash}) {
    const std::string call = "r1 = map_by_fd(" + std::to_string(map) + ")\ncall 1\n";
    expect_result("r2 = r1\nr2 += 8\n" + call + kFirstByte, 30 + kCpu);
    const Outcome past = expect_fault("r2 = r1\nr2 += 13\n" + call + kFirstByte, FaultKind::kMemory);
    EXPECT_EQ(past.helper, "map_lookup_elem");
    EXPECT_EQ(past.size, map == array ? 4u : 8u);
    EXPECT_EQ(expect_fault("r2 = r10\nr2 += -3\n" + call + kFirstByte, FaultKind::kMemory).slot, 4u);
    expect_fault("r2 = r10\nr2 += -513\n" + call + kFirstByte, FaultKind::kMemory);
    expect_fault("r2 = 0\n" + call + kFirstByte, FaultKind::kMemory);
    // The top of the stack in use is a key's place, too.
    expect_result("*(u64 *)(r10 + -8) = 4\nr2 = r10\nr2 += -8\n" + call + kFirstByte, 40 + kCpu);
  }
}

TEST_F(Lookups, OfMapsThatAreNotKnown) {
  const std::string first = std::to_string(add(BPF_MAP_TYPE_ARRAY, 4, 8));
  const std::string second = std::to_string(add(BPF_MAP_TYPE_HASH, 4, 8));
  const std::string text =
      "r3 = *(u8 *)(r1 + 0)\n*(u32 *)(r10 + -4) = 1\nr2 = r10\nr2 += -4\nr1 = map_by_fd(" + first +
      ")\nif r3 == 0 goto call\nr1 = map_by_fd(" + second + ")\ncall:\ncall 1\n" + kFirstByte;
  for (const Mode mode : kModes) EXPECT_EQ(run(text, mode, 1000, 0).r0, 10u + kCpu);
}

class Loops : public KnownCalls {
 protected:
  static std::string loop(const std::string& count, const std::string& callback,
                          const std::string& flags = "0") {
    return "r1 = " + count + "\nr2 = code_addr(" + callback + ")\nr3 = r10\nr3 += -8\nr4 = " + flags +
           "\ncall 181\n";
  }
  // Adds the index to what the context points at.
  static constexpr const char* kAdd =
      "add:\nr3 = *(u64 *)(r2 + 0)\nr3 += r1\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nexit\n";
};

TEST_F(Loops, CountIterations) {
  const std::string zero = "*(u64 *)(r10 + -8) = 0\n";
  for (const unsigned count : {0u, 1u, 2u, 100u}) {
    expect_result(zero + loop(std::to_string(count), "add") + "exit\n" + kAdd, count);
    expect_result(zero + loop(std::to_string(count), "add") + "r0 = *(u64 *)(r10 + -8)\nexit\n" + kAdd,
                  count == 0 ? 0 : uint64_t{count} * (count - 1) / 2);
  }
  // The count is 32 bits wide.
  expect_result(zero + loop("0x700000003 ll", "add") + "exit\n" + kAdd, 3);
}

TEST_F(Loops, RefuseWhatTheKernelRefuses) {
  expect_result(loop("1", "add", "1") + "exit\n" + kAdd, error(EINVAL));
  expect_result(loop("8388609", "add") + "exit\n" + kAdd, error(E2BIG));
  expect_result(loop("8388609", "add", "0x100000000 ll") + "exit\n" + kAdd, error(EINVAL));
  expect_result(loop("-1", "add") + "exit\n" + kAdd, error(E2BIG));
  // As many as there may be: the callback ends it.
  expect_result(loop("8388608", "end") + "exit\nend:\nr0 = 1\nexit", 1);
}

TEST_F(Loops, EndWhereTheCallbackSays) {
  expect_result(loop("10", "f") + "exit\nf:\nr0 = 0\nif r1 != 4 goto out\nr0 = 1\nout:\nexit", 5);
  // All 64 bits count.
  expect_result(loop("10", "f") + "exit\nf:\nr0 = 0x100000000 ll\nexit", 1);
}

TEST_F(Loops, KeepTheCallersRegisters) {
  expect_result("r6 = 6\nr7 = 70\nr8 = 800\nr9 = 9000\n" + loop("3", "f") +
                    "r0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit\n"
                    "f:\nr6 = 1\nr7 = 1\nr8 = 1\nr9 = 1\nr0 = 0\nexit",
                9879);
  // Through a function that does not name them itself.
  expect_result("r6 = 6\nr9 = 9000\ncall g\nr0 += r6\nr0 += r9\nexit\ng:\n" + loop("3", "f") +
                    "exit\nf:\nr6 = 1\nr9 = 1\nr0 = 0\nexit",
                9009);
}

TEST_F(Loops, CallbacksBeginWithFreshRegisters) {
  const std::string all = "r0 = 9\nr5 = 5\nr6 = 6\nr7 = 7\nr8 = 8\nr9 = 9\n" + loop("2", "f") +
                          "r1 += r2\nr1 += r3\nr1 += r4\nr1 += r5\nr0 += r1\nr0 += r6\nexit\n"
                          "f:\nr0 |= r3\nr0 |= r4\nr0 |= r5\nr0 |= r6\nr0 |= r7\nr0 |= r8\nr0 |= r9\n"
                          "r6 = 1\nr7 = 1\nr8 = 1\nr9 = 1\nexit";
  const Outcome out = run(all, Mode::kChecked);
  EXPECT_FALSE(out.faulted);
  EXPECT_EQ(out.r0, 2u + 6u);
}

TEST_F(Loops, InLoops) {
  const std::string inner =
      "outer:\nr6 = r2\nr1 = 5\nr2 = code_addr(add)\nr3 = r6\nr4 = 0\ncall 181\nr0 = 0\nexit\n";
  expect_result(
      "*(u64 *)(r10 + -8) = 0\n" + loop("7", "outer") + "r0 = *(u64 *)(r10 + -8)\nexit\n" + inner + kAdd, 70,
      2);
}

TEST_F(Loops, FramesOfCallbacks) {
  // The callback has a frame of its own above the caller's.
  expect_result("*(u64 *)(r10 + -8) = 3\n" + loop("4", "f") +
                    "r0 = *(u64 *)(r10 + -8)\nexit\nf:\n*(u64 *)(r10 + -8) = 50\nr2 -= r10\nr0 = 0\n"
                    "if r2 == -520 goto out\nr0 = 1\nout:\nexit",
                3);
  // A callback that loops over itself: seven frames below the eighth.
  const Outcome deep = expect_fault(loop("2", "f") + "exit\nf:\nmay_goto +0\n" + loop("2", "f") + "exit",
                                    FaultKind::kCallDepth, EnginePair::kFuel, 2);
  EXPECT_EQ(deep.slot, 8u);
}

TEST_F(Loops, TheCallbacksFrameIsGoneAfterwards) {
  const std::string callback = "f:\n*(u64 *)(r10 + -8) = 50\nr0 = *(u64 *)(r10 + -8)\nr0 -= 50\nexit";
  const std::string call = "r6 = r10\nr6 += 504\n" + loop("4", "f");
  const Outcome read = expect_fault(call + "r0 = *(u64 *)(r6 + 0)\nexit\n" + callback, FaultKind::kMemory);
  EXPECT_FALSE(read.write);
  EXPECT_EQ(read.size, 8u);
  const Outcome written = expect_fault(call + "*(u64 *)(r6 + 0) = 1\nexit\n" + callback, FaultKind::kMemory);
  EXPECT_TRUE(written.write);
}

TEST_F(Loops, CostFuel) {
  const std::string text = "*(u64 *)(r10 + -8) = 0\n" + loop("10", "add") + "exit\n" + kAdd;
  EXPECT_EQ(expect_fault(text, FaultKind::kFuel, 49).slot, 9u);
  EXPECT_EQ(run(text, Mode::kChecked, 50).fuel, 0);
  // In verified mode, too.
  EXPECT_EQ(run(text, Mode::kVerified, 49).kind, FaultKind::kFuel);
  EXPECT_EQ(run(text, Mode::kVerified, 50).fuel, 0);
}

TEST_F(Loops, FaultsInCallbacks) {
  const Outcome out = expect_fault(
      "r6 = 1\n" + loop("10", "f") +
          "exit\nf:\nr3 = r2\nif r1 != 5 goto out\nr3 = 0\nout:\nr0 = *(u8 *)(r3 + 0)\nr0 = 0\nexit",
      FaultKind::kMemory);
  EXPECT_EQ(out.address, 0u);
  EXPECT_EQ(out.fuel, static_cast<int64_t>(EnginePair::kFuel - 36));
}

TEST_F(Loops, CallbacksThatTailCall) {
  const int array = pair_.add_map({.type = BPF_MAP_TYPE_PROG_ARRAY,
                                   .key_size = 4,
                                   .value_size = 4,
                                   .max_entries = 1,
                                   .name = "programs"});
  const auto target = pair_.load("r6 = 3\nr9 = 4\nr0 = 0\nexit");
  {
    const maps::EpochDomain::TaskGuard guard(pair_.machine().epochs());
    ASSERT_EQ(pair_.map(array).set_object(0, target), 0);
  }
  const std::string call = "r1 = r2\nr2 = map_by_fd(0)\nr3 = 0\ncall 12\nr0 = 1\nexit\n";
  expect_result("r6 = 60\nr9 = 900\n" + loop("40", "f") + "r0 += r6\nr0 += r9\nexit\nf:\n" + call, 994, 2);
  // Of 40 the 34th finds the count used up. Faults after it are the program's own again.
  const std::string bad = "r6 = 60\n" + loop("3", "f") + "r0 = *(u8 *)(r6 + 0)\nexit\nf:\n" + call;
  const auto program = pair_.load(bad);
  EXPECT_EQ(pair_.run_both(*program).program, program.get());
}

TEST_F(Loops, OfFunctionsThatAreNotKnown) {
  const std::string text =
      "r5 = *(u8 *)(r1 + 0)\n*(u64 *)(r10 + -8) = 0\nr1 = 3\nr2 = code_addr(add)\nr3 = r10\nr3 += -8\nr4 = "
      "0\n"
      "if r5 == 0 goto call\nr2 = code_addr(f)\ncall:\ncall 181\nexit\nf:\nr0 = 1\nexit\n";
  for (const Mode mode : kModes) EXPECT_EQ(run(text + kAdd, mode, 1000, 0).r0, 3u);
}

class Walks : public Lookups {
 protected:
  static std::string walk(int map, const std::string& callback, const std::string& flags = "0") {
    return "r1 = map_by_fd(" + std::to_string(map) + ")\nr2 = code_addr(" + callback +
           ")\nr3 = r10\nr3 += -8\nr4 = " + flags + "\ncall 164\n";
  }
  static constexpr const char* kZero = "*(u64 *)(r10 + -8) = 0\n";
  static constexpr const char* kSum = "r0 = *(u64 *)(r10 + -8)\nexit\n";
  // Adds 1000 times the key and the value to what the context points at.
  static constexpr const char* kAdd =
      "add:\nr5 = *(u8 *)(r2 + 0)\nr5 *= 1000\nr3 = *(u8 *)(r3 + 0)\nr5 += r3\nr3 = *(u64 *)(r4 + 0)\n"
      "r5 += r3\n*(u64 *)(r4 + 0) = r5\nr0 = 0\nexit\n";
  // Keys are 0 to 4, and values 10 times the key and 2, the CPU's number.
  static constexpr uint64_t kSumOfAll = 10110;
};

TEST_F(Walks, MeetEveryElement) {
  for (const uint32_t type :
       {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH}) {
    for (const uint32_t value_size : {8u, 12u, 48u}) {
      const int map = add(type, 4, value_size);
      expect_result(kZero + walk(map, "add") + "exit\n" + kAdd, 5);
      expect_result(kZero + walk(map, "add") + kSum + kAdd, kSumOfAll);
    }
  }
  const int wide = add(BPF_MAP_TYPE_HASH, 12, 8);
  expect_result(kZero + walk(wide, "add") + kSum + kAdd, kSumOfAll);
  const int empty = pair_.add_map(
      {.type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 8, .max_entries = 100, .name = "empty"});
  expect_result(kZero + walk(empty, "add") + "exit\n" + kAdd, 0);
}

TEST_F(Walks, RefuseFlags) {
  for (const uint32_t type : {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH})
    for (const char* flags : {"1", "0x100000000 ll"})
      expect_result(walk(add(type, 4, 8), "add", flags) + "exit\n" + kAdd, error(EINVAL));
}

TEST_F(Walks, EndWhereTheCallbackSays) {
  const int array = add(BPF_MAP_TYPE_ARRAY, 4, 8);
  expect_result(
      walk(array, "f") + "exit\nf:\nr0 = 0\nr2 = *(u32 *)(r2 + 0)\nif r2 != 3 goto out\nr0 = 1\nout:\nexit",
      4);
  for (const int map : {array, add(BPF_MAP_TYPE_PERCPU_HASH, 4, 8)})
    expect_result(walk(map, "f") + "exit\nf:\nr0 = 0x100000000 ll\nexit", 1);
}

TEST_F(Walks, KeepTheCallersRegisters) {
  for (const uint32_t type : {BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_HASH}) {
    const int map = add(type, 4, 8);
    expect_result("r6 = 6\nr7 = 70\nr8 = 800\nr9 = 9000\n" + walk(map, "f") +
                      "r0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit\n"
                      "f:\nr6 = 1\nr7 = 1\nr8 = 1\nr9 = 1\nr0 = 0\nexit",
                  9881);
  }
}

// The key's and the value's memory are arguments of a call that the callback makes.
TEST_F(Walks, ReplaceElementsOnTheWay) {
  const int map = add(BPF_MAP_TYPE_HASH, 4, 8);
  expect_result(walk(map, "f") + "exit\nf:\nr4 = 0\ncall 2\nexit", 5);
  expect_result(kZero + walk(map, "add") + kSum + kAdd, kSumOfAll);
}

TEST_F(Walks, InWalks) {
  const int array = add(BPF_MAP_TYPE_ARRAY, 4, 8);
  const int hash = add(BPF_MAP_TYPE_HASH, 4, 8);
  const std::string text = "*(u64 *)(r10 + -8) = 0\n" + walk(hash, "outer") +
                           "exit\nouter:\n*(u64 *)(r10 + -8) = 0\nr6 = r4\n" + walk(array, "add") +
                           "r0 += -5\nexit\n" + kAdd;
  expect_result(text, 5, 2);
}

TEST_F(Walks, CostFuel) {
  const int map = add(BPF_MAP_TYPE_ARRAY, 4, 8);
  const std::string text = walk(map, "f") + "exit\nf:\nr0 = 0\nexit";
  // Two instructions for each of five elements.
  EXPECT_EQ(run(text, Mode::kVerified, 9).kind, FaultKind::kFuel);
  EXPECT_EQ(run(text, Mode::kVerified, 10).fuel, 0);
  EXPECT_EQ(run(text, Mode::kVerified, 10).r0, 5u);
}

TEST_F(Walks, FaultsInCallbacks) {
  const Outcome out = expect_fault(
      walk(add(BPF_MAP_TYPE_HASH, 4, 8), "f") + "exit\nf:\nr0 = *(u64 *)(r3 + 8)\nexit", FaultKind::kMemory);
  EXPECT_EQ(out.size, 8u);
}

// What an embedder puts in a helper's place is called.
TEST_F(KnownCalls, NotOfHelpersPutInTheirPlace) {
  pair_.machine().helpers().put_custom(BPF_FUNC_get_smp_processor_id, "mine",
                                       [](std::span<const uint64_t, 5>, vm::Cpu&) -> uint64_t { return 77; });
  for (const Mode mode : kModes) EXPECT_EQ(run("call 8\nexit", mode, 100, 0).r0, 77u);
}

}  // namespace
}  // namespace skep::jit
