#include "fuzz/generated_program.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>

#include "engine_pair.hpp"
#include "fuzz/plain_helpers.hpp"
#include "helpers/helpers.hpp"
#include "vm/random.hpp"

namespace skep::jit {
namespace {

using vm::FaultKind;
using vm::Mode;

using fuzz::kCallTwice;
using fuzz::kMix;

std::vector<std::byte> random_bytes(uint64_t seed, size_t size) {
  vm::Random random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

// How the runs ended, to see that the programs are worth running.
std::map<FaultKind, unsigned> compare(uint64_t first, uint64_t count, const JitOptions& jit,
                                      fuzz::GeneratorOptions options) {
  EnginePair pair(fuzz::plain_helpers(), jit);
  options.plain_helper = kMix;
  options.callback_helper = kCallTwice;
  pair.set_memory(random_bytes(first, options.memory_size));
  std::map<FaultKind, unsigned> ends;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(seed);
    const auto program = pair.load(fuzz::generated_program(seed, options));
    if (!program) break;
    ++ends[pair.run_both(*program, Mode::kChecked, 2000).kind];
    if (testing::Test::HasFailure()) break;
  }
  return ends;
}

TEST(RandomPrograms, EnginesAgree) {
  auto ends = compare(1, 4000, default_jit_options(), {});
  EXPECT_GT(ends[FaultKind::kNone], 1000u);
  EXPECT_GT(ends[FaultKind::kMemory], 100u);
  EXPECT_GT(ends[FaultKind::kMisaligned], 20u);
  EXPECT_GT(ends[FaultKind::kFuel], 50u);
  EXPECT_GT(ends[FaultKind::kCallDepth], 5u);
}

TEST(RandomPrograms, EnginesAgreeOnShortOnes) {
  compare(100'000, 3000, default_jit_options(), {.length = 6, .functions = 1});
}

TEST(RandomPrograms, EnginesAgreeWithoutBmi2) {
  JitOptions jit = default_jit_options();
  jit.use_bmi2 = false;
  compare(200'000, 1000, jit, {.length = 60, .functions = 5, .memory_size = 256});
}

// Verified mode is for programs that do not fault: a checked run tells which those are.
TEST(RandomPrograms, EnginesAgreeInVerifiedMode) {
  EnginePair pair(fuzz::plain_helpers());
  const fuzz::GeneratorOptions options{.functions = 5,
                                       .memory_size = 256,
                                       .plain_helper = kMix,
                                       .callback_helper = kCallTwice,
                                       .initialised = true};
  pair.set_memory(random_bytes(5, options.memory_size));
  unsigned verified = 0;
  for (uint64_t seed = 300'000; seed < 304'000; ++seed) {
    SCOPED_TRACE(seed);
    const auto program = pair.load(fuzz::generated_program(seed, options));
    if (!program || pair.run_both(*program, Mode::kChecked, 2000).faulted) continue;
    pair.run_both(*program, Mode::kVerified);
    ++verified;
    if (HasFailure()) break;
  }
  EXPECT_GT(verified, 1000u);
}

// Helpers that are carried out in place, against their functions on the interpreter.
TEST(RandomPrograms, EnginesAgreeOnKnownCalls) {
  const auto rows = skep::helpers::builtin_helpers();
  EnginePair pair({rows.begin(), rows.end()}, default_jit_options(), 1);
  const auto add = [&](uint32_t type, uint32_t value_size) {
    return pair.add_map(
        {.type = type, .key_size = 4, .value_size = value_size, .max_entries = 4, .name = "map"});
  };
  fuzz::GeneratorOptions options{.functions = 4, .kernel_helpers = true};
  options.maps = {.array = add(BPF_MAP_TYPE_ARRAY, 8),
                  .percpu_array = add(BPF_MAP_TYPE_PERCPU_ARRAY, 8),
                  .hash = add(BPF_MAP_TYPE_HASH, 8),
                  .programs = add(BPF_MAP_TYPE_PROG_ARRAY, 4)};
  for (const uint32_t key : {0U, 1U, 3U}) pair.add_element(options.maps.hash, key);
  pair.reset_maps(true);
  pair.set_memory(random_bytes(9, 64));
  std::map<FaultKind, unsigned> ends;
  size_t known = 0;
  for (uint64_t seed = 400'000; seed < 403'000; ++seed) {
    SCOPED_TRACE(seed);
    const auto program = pair.load(fuzz::generated_program(seed, options));
    if (!program) break;
    known += program->optimized(Mode::kChecked).known_calls.size();
    ++ends[pair.run_both(*program, Mode::kChecked, 5000).kind];
    if (HasFailure()) break;
    const maps::EpochDomain::TaskGuard guard(pair.machine().epochs());
    pair.map(options.maps.programs).set_object(seed % 4, program);
  }
  // Programs hold the array that holds them.
  const maps::EpochDomain::TaskGuard guard(pair.machine().epochs());
  for (uint32_t n = 0; n < 4; ++n) pair.map(options.maps.programs).set_object(n, nullptr);
  EXPECT_GT(known, 1000u);
  EXPECT_GT(ends[FaultKind::kNone], 500u);
  EXPECT_GT(ends[FaultKind::kFuel], 50u);
}

TEST(RandomPrograms, OneSeedGivesOneProgram) {
  EXPECT_EQ(fuzz::generated_program(7, {}), fuzz::generated_program(7, {}));
  EXPECT_NE(fuzz::generated_program(7, {}), fuzz::generated_program(8, {}));
}

}  // namespace
}  // namespace skep::jit
