#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <string>
#include <vector>

#include "engine_pair.hpp"
#include "helpers/helpers.hpp"
#include "maps/ring_buffer.hpp"
#include "maps/user_ring_buffer.hpp"

// Programs that write to rings, in both engines; and what checked mode makes of those that the verifier would
// refuse.
namespace skep::jit {
namespace {

using vm::FaultKind;
using vm::Mode;

uint64_t error(int code) { return static_cast<uint64_t>(-static_cast<int64_t>(code)); }

class Records final : public maps::RecordVisitor {
 public:
  void record(std::span<const std::byte> bytes, unsigned /*cpu*/) override {
    records.emplace_back(bytes.begin(), bytes.end());
  }
  std::vector<std::vector<std::byte>> records;
};

class RingPrograms : public testing::Test {
 protected:
  static std::vector<vm::HelperRow> helpers() {
    const auto rows = skep::helpers::builtin_helpers();
    return {rows.begin(), rows.end()};
  }

  RingPrograms() {
    maps::MapSpec spec;
    spec.type = BPF_MAP_TYPE_RINGBUF;
    spec.max_entries = 4096;
    ring_ = pair_.add_map(spec);
    spec.type = BPF_MAP_TYPE_USER_RINGBUF;
    user_ring_ = pair_.add_map(spec);
    spec = {};
    spec.type = BPF_MAP_TYPE_ARRAY;
    spec.key_size = 4;
    spec.value_size = 8;
    spec.max_entries = 1;
    array_ = pair_.add_map(spec);
  }

  maps::RingBufferMap& ring() { return *pair_.map(ring_).ring_buffer(); }

  // A program in which {ring}, {user} and {array} are the maps.
  std::string text(std::string program) const {
    const auto put = [&](const std::string& name, int map) {
      for (size_t at = program.find(name); at != std::string::npos; at = program.find(name))
        program.replace(at, name.size(), fmt::format("map_by_fd({})", map));
    };
    put("{ring}", ring_);
    put("{user}", user_ring_);
    put("{array}", array_);
    return program;
  }

  // On both engines, each with an empty ring; what they leave in it is the same, too.
  Outcome run(const std::string& program, Mode mode = Mode::kChecked) {
    const auto loaded = pair_.load(text(program));
    if (!loaded) return {};
    const auto once = [&](vm::EngineKind engine) {
      ring().clear();
      Outcome out = pair_.run(*loaded, engine, mode);
      Records records;
      EXPECT_GE(ring().consume(records), 0);
      left_ = records.records;
      available_ = ring().query(BPF_RB_AVAIL_DATA);
      return out;
    };
    const Outcome expected = once(vm::EngineKind::kInterpreter);
    const auto left = left_;
    const Outcome actual = once(vm::EngineKind::kJit);
    EXPECT_EQ(actual, expected) << program;
    EXPECT_EQ(left_, left) << program;
    // Nothing holds the consumer back, whatever became of the program.
    EXPECT_EQ(available_, 0U) << program;
    return actual;
  }
  uint64_t result_in_both_modes(const std::string& program) {
    uint64_t r0 = 0;
    for (const Mode mode : kModes) {
      const Outcome out = run(program, mode);
      EXPECT_FALSE(out.faulted) << out;
      r0 = out.r0;
    }
    return r0;
  }
  void expect_fault(const std::string& program, FaultKind kind, uint32_t slot) {
    const Outcome out = run(program);
    EXPECT_TRUE(out.faulted) << program;
    EXPECT_EQ(out.kind, kind) << program << out;
    EXPECT_EQ(out.slot, slot) << program << out;
  }

  EnginePair pair_{helpers()};
  int ring_ = 0;
  int user_ring_ = 0;
  int array_ = 0;
  std::vector<std::vector<std::byte>> left_;
  uint64_t available_ = 0;
};

// 8 bytes reserved in r6, or the program ends.
constexpr const char* kReserve = R"(
  r1 = {ring}
  r2 = 8
  r3 = 0
  call 131
  if r0 == 0 goto none
  r6 = r0
)";
constexpr const char* kNone = R"(
none:
  r0 = 99
  exit
)";

std::string with_record(const std::string& body) { return kReserve + body + kNone; }

TEST_F(RingPrograms, ReserveAndSubmit) {
  const std::string program = with_record(R"(
    r1 = 7
    *(u64 *)(r6 + 0) = r1
    r1 = r6
    r2 = 0
    call 132
    r0 = 1
    exit)");
  EXPECT_EQ(result_in_both_modes(program), 1U);
  ASSERT_EQ(left_.size(), 1U);
  EXPECT_EQ(left_[0].size(), 8U);
  EXPECT_EQ(left_[0][0], std::byte{7});
}

TEST_F(RingPrograms, Discard) {
  EXPECT_EQ(result_in_both_modes(with_record("r1 = r6\nr2 = 0\ncall 133\nr0 = 1\nexit")), 1U);
  EXPECT_TRUE(left_.empty());
}

TEST_F(RingPrograms, Output) {
  EXPECT_EQ(result_in_both_modes(R"(
    r1 = 5
    *(u64 *)(r10 - 8) = r1
    r1 = {ring}
    r2 = r10
    r2 += -8
    r3 = 8
    r4 = 0
    call 130
    exit)"),
            0U);
  ASSERT_EQ(left_.size(), 1U);
  EXPECT_EQ(left_[0][0], std::byte{5});
}

TEST_F(RingPrograms, ARecordLeftBehindIsALeak) {
  expect_fault(with_record("r0 = 1\nexit"), FaultKind::kLeak, 4);
  EXPECT_TRUE(left_.empty());
  // The fault that ended the run before is the one that counts.
  expect_fault(with_record("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit"), FaultKind::kMemory, 8);
}

TEST_F(RingPrograms, ARecordIsTheProgramsUntilItLetsItGo) {
  expect_fault(with_record("*(u64 *)(r6 + 8) = r6\nr0 = 0\nexit"), FaultKind::kMemory, 7);
  expect_fault(with_record("*(u32 *)(r6 - 4) = r6\nr0 = 0\nexit"), FaultKind::kMemory, 7);
  expect_fault(with_record(R"(
    *(u64 *)(r6 + 0) = r6
    r1 = r6
    r2 = 0
    call 132
    *(u64 *)(r6 + 0) = r6
    r0 = 0
    exit)"),
               FaultKind::kMemory, 11);
  EXPECT_EQ(left_.size(), 1U);
}

TEST_F(RingPrograms, WhatIsNoRecordIsNotSubmitted) {
  // Twice, 8 bytes into it, a map, the stack, null, a number.
  expect_fault(with_record("r1 = r6\nr2 = 0\ncall 132\nr1 = r6\nr2 = 0\ncall 132\nr0 = 0\nexit"),
               FaultKind::kBadCall, 12);
  expect_fault(with_record("r1 = r6\nr1 += 4\nr2 = 0\ncall 132\nr0 = 0\nexit"), FaultKind::kBadCall, 10);
  for (const char* value : {"r1 = {ring}", "r1 = r10\nr1 += -8", "r1 = 0\nr1 = 0", "r1 = 77\nr1 = 77"})
    for (const char* call : {"132", "133"})
      expect_fault(fmt::format("{}\nr2 = 0\ncall {}\nr0 = 0\nexit", value, call), FaultKind::kBadCall, 3);
}

TEST_F(RingPrograms, ManyRecordsAtOnce) {
  // As many as fit, never let go: all of them are discarded, and the fault is at the first one's call.
  const std::string program = R"(
  again:
    r1 = {ring}
    r2 = 40
    r3 = 0
    call 131
    if r0 != 0 goto again
    exit)";
  expect_fault(program, FaultKind::kLeak, 4);
}

TEST_F(RingPrograms, OtherMapsAreRefusedWhenTheProgramRuns) {
  // Out of the load's sight: the map comes from another block.
  const std::string program = R"(
    r1 = {{array}}
    r0 = *(u64 *)(r10 - 8)
    if r0 == 1 goto +1
    r0 = 0
    r2 = r10
    r2 += -8
    r3 = {}
    r4 = 0
    call {}
    exit)";
  EXPECT_EQ(run(fmt::format(fmt::runtime(program), 8, 130)).r0, error(EINVAL));
  EXPECT_EQ(run(fmt::format(fmt::runtime(program), 0, 131)).r0, 0U);
  EXPECT_EQ(run(fmt::format(fmt::runtime(program), 0, 134)).r0, error(EINVAL));
}

TEST_F(RingPrograms, Dynptrs) {
  const std::string program = R"(
    r1 = {ring}
    r2 = 16
    r3 = 0
    r4 = r10
    r4 += -16
    call 198
    r6 = r0
    r1 = 5
    *(u64 *)(r10 - 24) = r1
    r1 = r10
    r1 += -16
    r2 = 8
    r3 = r10
    r3 += -24
    r4 = 8
    r5 = 0
    call 202
    r1 = r10
    r1 += -16
    r2 = 0
    r3 = 8
    call 203
    if r0 == 0 goto done
    r1 = 6
    *(u64 *)(r0 + 0) = r1
  done:
    r1 = r10
    r1 += -16
    r2 = 0
    call 199
    r0 = *(u64 *)(r10 - 16)
    r0 += r6
    exit)";
  EXPECT_EQ(result_in_both_modes(program), 0U);
  ASSERT_EQ(left_.size(), 1U);
  EXPECT_EQ(left_[0][0], std::byte{6});
  EXPECT_EQ(left_[0][8], std::byte{5});
}

TEST_F(RingPrograms, DynptrsCannotBeForged) {
  // data, then size, type and offset; submitted, read, asked for memory.
  const auto forged = [](const char* data, uint64_t bits, const char* call) {
    return fmt::format(R"(
      {}
      *(u64 *)(r10 - 16) = r1
      r1 = {} ll
      *(u64 *)(r10 - 8) = r1
      r3 = r10
      r3 += -16
      r1 = r3
      r2 = 0
      {}
      r0 = 0
      exit)",
                       data, bits, call);
  };
  constexpr uint64_t kLocal = 1U << 28;
  constexpr uint64_t kRingbuf = 2U << 28;
  // Memory that is none of the program's.
  expect_fault(forged("r1 = 4096 ll", kLocal | 8, "call 203"), FaultKind::kMemory, 10);
  // The stack's end, and beyond by the offset.
  EXPECT_FALSE(run(forged("r1 = r10\nr1 += -16", kLocal | 16, "call 203")).faulted);
  expect_fault(forged("r1 = r10\nr1 += -16", kLocal | 17, "call 203"), FaultKind::kMemory, 10);
  expect_fault(forged("r1 = r10\nr1 += -16", kLocal | 16 | uint64_t{1} << 32, "call 203"), FaultKind::kMemory,
               10);
  // A record that was never reserved; another kind in its place; kinds that there are not.
  for (const char* call : {"call 199", "call 200"}) {
    expect_fault(forged("r1 = r10\nr1 += -16", kRingbuf | 8, call), FaultKind::kBadCall, 10);
    expect_fault(forged("r1 = r10\nr1 += -16", kLocal | 8, call), FaultKind::kBadCall, 10);
  }
  for (const uint64_t kind : {0U, 3U, 4U, 7U})
    expect_fault(forged("r1 = r10\nr1 += -16", kind << 28 | 8, "call 203"), FaultKind::kBadCall, 10);
  // A null one is refused by all and harms nobody.
  EXPECT_FALSE(run(forged("r1 = 0\nr1 = 0", 0, "call 199")).faulted);
}

TEST_F(RingPrograms, DynptrsLieOnTheStack) {
  expect_fault("r3 = 0\nr4 = r1\nr1 = {ring}\nr2 = 8\ncall 198\nr0 = 0\nexit", FaultKind::kBadCall, 5);
  expect_fault("r4 = r10\nr4 += -8\nr1 = {ring}\nr2 = 8\nr3 = 0\ncall 198\nr0 = 0\nexit", FaultKind::kBadCall,
               6);
}

// Samples as user space writes them.
class Drains : public RingPrograms {
 protected:
  void SetUp() override {
    const int file = pair_.map(user_ring_).memory_descriptor();
    for (const uint64_t word : {11U, 22U, 33U}) {
      const uint32_t header[2] = {8, 0};
      put(file, 8192 + produced_, header, sizeof header);
      put(file, 8192 + produced_ + 8, &word, sizeof word);
      produced_ += 16;
    }
  }
  static void put(int file, uint64_t offset, const void* bytes, size_t size) {
    ASSERT_EQ(pwrite(file, bytes, size, static_cast<off_t>(offset)), static_cast<ssize_t>(size));
  }
  // Makes the samples new for each engine.
  Outcome drain(const std::string& program, Mode mode = Mode::kChecked) {
    const auto loaded = pair_.load(text(program));
    if (!loaded) return {};
    const auto once = [&](vm::EngineKind engine) {
      const int file = pair_.map(user_ring_).memory_descriptor();
      const uint64_t zero = 0;
      put(file, 0, &zero, sizeof zero);
      put(file, 4096, &produced_, sizeof produced_);
      Outcome out = pair_.run(*loaded, engine, mode);
      EXPECT_EQ(pread(file, &consumed_, sizeof consumed_, 0), 8);
      // The callback's dynptr lies where the engine's own frames are.
      return out;
    };
    const Outcome expected = once(vm::EngineKind::kInterpreter);
    const Outcome actual = once(vm::EngineKind::kJit);
    EXPECT_EQ(actual.r0, expected.r0) << program;
    EXPECT_EQ(actual.kind, expected.kind) << program;
    EXPECT_EQ(actual.slot, expected.slot) << program;
    EXPECT_EQ(actual.fuel, expected.fuel) << program;
    return actual;
  }
  static std::string with_callback(const std::string& callback) {
    return R"(
      r1 = 0
      *(u64 *)(r10 - 8) = r1
      r1 = {user}
      r2 = code_addr(take)
      r3 = r10
      r3 += -8
      r4 = 0
      call 209
      r1 = *(u64 *)(r10 - 8)
      r1 <<= 32
      r0 |= r1
      exit
    take:
      r7 = r2
      r6 = r1
)" + callback;
  }
  uint64_t produced_ = 0;
  uint64_t consumed_ = 0;
};

// The samples' first words are summed in the context.
constexpr const char* kSum = R"(
      r1 = r10
      r1 += -8
      r2 = 8
      r3 = r6
      r4 = 0
      r5 = 0
      call 201
      r1 = *(u64 *)(r10 - 8)
      r2 = *(u64 *)(r7 + 0)
      r2 += r1
      *(u64 *)(r7 + 0) = r2
      r0 = 0
)";

TEST_F(Drains, EverySample) {
  for (const Mode mode : kModes) {
    const Outcome out = drain(with_callback(std::string(kSum) + "exit"), mode);
    EXPECT_FALSE(out.faulted);
    EXPECT_EQ(out.r0, uint64_t{66} << 32 | 3);
    EXPECT_EQ(consumed_, 48U);
  }
}

TEST_F(Drains, StopsWhereTheCallbackSays) {
  const Outcome out = drain(with_callback(std::string(kSum) + "if r2 == 11 goto more\nr0 = 1\nmore:\nexit"));
  EXPECT_EQ(out.r0, uint64_t{33} << 32 | 2);
  EXPECT_EQ(consumed_, 32U);
}

TEST_F(Drains, TheDynptrIsNotTheProgramsToTouch) {
  const Outcome out = drain(with_callback("r0 = *(u64 *)(r6 + 0)\nexit"));
  EXPECT_EQ(out.kind, FaultKind::kMemory);
  // Nor is it one when the callback is over, or a record to submit.
  EXPECT_EQ(drain(with_callback("r1 = r6\nr2 = 0\ncall 199\nr0 = 0\nexit")).kind, FaultKind::kBadCall);
}

TEST_F(Drains, AFaultInTheCallbackEndsTheDrain) {
  const Outcome out = drain(with_callback("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit"));
  EXPECT_EQ(out.kind, FaultKind::kMemory);
  EXPECT_EQ(consumed_, 16U);
  // And the ring is free again.
  EXPECT_EQ(drain(with_callback("r0 = 0\nexit")).r0, 3U);
}

}  // namespace
}  // namespace skep::jit
