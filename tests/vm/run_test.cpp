// What a run leaves behind, and what a Runner holds.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "vm_fixture.hpp"

namespace skep::test {
namespace {

class RunnerRuns : public testing::TestWithParam<Execution> {
 protected:
  vm::RunOptions options() const { return {GetParam().engine, GetParam().mode, 1'000'000}; }
  // r0 of a run on CPU 0.
  uint64_t run(const vm::Program& program) {
    const vm::RunResult result = vm::run_raw(machine_->cpu(0), program, {}, options());
    EXPECT_FALSE(result.faulted) << vm::describe(machine_->cpu(0).fault());
    return result.r0;
  }
  std::unique_ptr<vm::Machine> machine_ = make_machine(4);
};

class CheckedStack : public RunnerRuns {};

// The or of words of the three lowest frames.
constexpr std::string_view kLook = R"(
    r0 = *(u64 *)(r10 - 8)
    r1 = *(u64 *)(r10 - 512)
    r0 |= r1
    r6 = r0
    call below
    r0 |= r6
    exit
  below:
    r0 = *(u64 *)(r10 - 8)
    r1 = *(u64 *)(r10 - 512)
    r0 |= r1
    r6 = r0
    call lowest
    r0 |= r6
    exit
  lowest:
    r0 = *(u64 *)(r10 - 8)
    r1 = *(u64 *)(r10 - 512)
    r0 |= r1
    exit)";

TEST_P(CheckedStack, IsZeroWhateverTheMainFunctionWrote) {
  const auto look = make_program(*machine_, kLook);
  run(*make_program(*machine_, "*(u64 *)(r10 - 8) = -1\n*(u64 *)(r10 - 512) = -1\nr0 = 0\nexit"));
  EXPECT_EQ(run(*look), 0U);
}

TEST_P(CheckedStack, IsZeroWhateverCalledFunctionsWrote) {
  const auto look = make_program(*machine_, kLook);
  run(*make_program(*machine_, R"(
    call deeper
    exit
  deeper:
    call deepest
    exit
  deepest:
    *(u64 *)(r10 - 8) = -1
    *(u64 *)(r10 - 512) = -1
    r0 = 0
    exit)"));
  EXPECT_EQ(run(*look), 0U);
}

TEST_P(CheckedStack, IsZeroWhateverRecursionWrote) {
  const auto look = make_program(*machine_, kLook);
  run(*make_program(*machine_, R"(
    r1 = 2
    call again
    exit
  again:
    *(u64 *)(r10 - 8) = -1
    r1 += -1
    r0 = 0
    if r1 == 0 goto out
    call again
  out:
    exit)"));
  EXPECT_EQ(run(*look), 0U);
}

TEST_P(CheckedStack, IsZeroWhateverACallbackWrote) {
  const auto look = make_program(*machine_, kLook);
  run(*make_program(*machine_, R"(
    r1 = 1
    r2 = code_addr(callback)
    r3 = 0
    r4 = 0
    call 181
    r0 = 0
    exit
  callback:
    *(u64 *)(r10 - 8) = -1
    r0 = 0
    exit)"));
  EXPECT_EQ(run(*look), 0U);
}

TEST_P(CheckedStack, IsZeroWhateverAHelperWrote) {
  const auto look = make_program(*machine_, kLook);
  // get_current_comm fills its memory.
  run(*make_program(*machine_, "r1 = r10\nr1 += -8\nr2 = 8\ncall 16\nr0 = 0\nexit"));
  EXPECT_EQ(run(*look), 0U);
}

TEST_P(CheckedStack, IsZeroWhateverTheTargetOfATailCallWrote) {
  const auto look = make_program(*machine_, kLook);
  const auto target = make_program(*machine_, R"(
    *(u64 *)(r10 - 8) = -1
    call deeper
    exit
  deeper:
    *(u64 *)(r10 - 8) = -1
    r0 = 0
    exit)");
  const auto programs = make_map(*machine_, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
  {
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    ASSERT_EQ(programs->set_object(0, target), 0);
  }
  run(*make_program(*machine_, "r2 = map_by_fd(0)\nr3 = 0\ncall 12\nr0 = 1\nexit", "raw", {programs}));
  EXPECT_EQ(run(*look), 0U);
}

TEST_P(CheckedStack, IsZeroAtEachRunOfARunner) {
  const auto program = make_program(*machine_, R"(
    r0 = *(u64 *)(r10 - 8)
    *(u64 *)(r10 - 8) = 1
    exit)");
  vm::Runner runner(machine_->cpu(0), *program, options());
  for (unsigned n = 0; n < 3; ++n) EXPECT_EQ(runner.run(std::span<std::byte>()).r0, 0U);
}

TEST_P(CheckedStack, IsZeroAfterVerifiedRuns) {
  const auto look = make_program(*machine_, kLook);
  const auto dirty = make_program(*machine_, "*(u64 *)(r10 - 512) = -1\nr0 = 0\nexit");
  vm::run_raw(machine_->cpu(0), *dirty, {}, {GetParam().engine, vm::Mode::kVerified, 1'000'000});
  EXPECT_EQ(run(*look), 0U);
}

INSTANTIATE_TEST_SUITE_P(Engines, CheckedStack, testing::ValuesIn(checked_executions()),
                         [](const auto& info) { return name_of(info.param); });

struct Waiting : maps::EpochDomain::Retired {
  bool reclaimed = false;
};

TEST_P(RunnerRuns, AnIdleRunnerHoldsReclamationUpAndOneThatRunsDoesNot) {
  const auto program = make_program(*machine_, "r0 = 0\nexit");
  maps::EpochDomain& epochs = machine_->epochs();
  vm::Runner runner(machine_->cpu(0), *program, options());
  Waiting waiting;
  {
    const maps::EpochDomain::TaskGuard guard(epochs);
    epochs.retire(waiting, [](auto* node) { static_cast<Waiting*>(node)->reclaimed = true; });
  }
  for (unsigned n = 0; n < 10; ++n) const maps::EpochDomain::TaskGuard guard(epochs);
  EXPECT_FALSE(waiting.reclaimed) << "the Runner may still reach it";
  for (unsigned n = 0; n < 10; ++n) runner.run(std::span<std::byte>());
  EXPECT_TRUE(waiting.reclaimed);
}

TEST_P(RunnerRuns, ReplacedElementsAreReusedWhileRunnersRun) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_HASH, 4, 8, 8);
  const auto program = make_program(*machine_, R"(
    *(u32 *)(r10 - 4) = 3
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto missing
    r1 = *(u64 *)(r0 + 0)
    r0 = r1
    r0 &= 7
    r0 ^= 3
    exit
  missing:
    r0 = 0
    exit)",
                                    "raw", {map});
  std::atomic<unsigned> running = 2;
  std::atomic<unsigned> failures = 0;
  std::vector<std::jthread> threads;
  for (unsigned cpu = 0; cpu < 2; ++cpu)
    threads.emplace_back([&, cpu] {
      {
        vm::Runner runner(machine_->cpu(cpu), *program, options());
        for (unsigned n = 0; n < 3000; ++n) {
          const vm::RunResult result = runner.run(std::span<std::byte>());
          if (result.faulted || result.r0 != 0) ++failures;
        }
      }
      --running;
    });
  threads.emplace_back([&] {
    // A value names its key in its low bits.
    for (uint64_t n = 0; running != 0; ++n) {
      const maps::EpochDomain::TaskGuard guard(machine_->epochs());
      const uint32_t key = n % 8;
      const uint64_t value = (n << 3) | key;
      // ENOMEM: both Runners are between two runs just now.
      const long done = map->write(&key, &value, BPF_ANY);
      if (done != 0 && done != -ENOMEM && done != -E2BIG) ++failures;
      if (n % 16 == 15) map->erase(&key);
    }
  });
  threads.clear();
  EXPECT_EQ(failures, 0U);
}

INSTANTIATE_TEST_SUITE_P(Engines, RunnerRuns, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

TEST(CpuHold, KeepsLocksOut) {
  const auto machine = make_machine(1);
  vm::Cpu& cpu = machine->cpu(0);
  {
    std::optional<vm::CpuLock> lock(cpu);
    ASSERT_TRUE(static_cast<bool>(*lock));
    const vm::CpuHold hold(cpu, *lock);
    lock.reset();
    EXPECT_FALSE(static_cast<bool>(vm::CpuLock(cpu)));
  }
  EXPECT_TRUE(static_cast<bool>(vm::CpuLock(cpu)));
}

}  // namespace
}  // namespace skep::test
