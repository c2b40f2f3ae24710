// Programs on several simulated CPUs, each driven by a host thread, sharing maps.
#include <gtest/gtest.h>

#include <thread>

#include "vm_fixture.hpp"

namespace skep::test {
namespace {

constexpr unsigned kCpus = 4;
constexpr unsigned kRuns = 500;

class Concurrency : public testing::TestWithParam<Execution> {
 protected:
  void run_everywhere(const vm::Program& program, unsigned threads_per_cpu = 1) {
    std::vector<std::jthread> threads;
    for (unsigned n = 0; n < kCpus * threads_per_cpu; ++n)
      threads.emplace_back([&, cpu = n % kCpus] {
        for (unsigned i = 0; i < kRuns; ++i) {
          vm::Cpu& on = machine_->cpu(cpu);
          const vm::CpuLock lock(on);
          const auto result = vm::run_raw(on, program, {}, {GetParam().engine, GetParam().mode, 1'000'000});
          if (result.faulted || result.r0 != 0) ++failures_;
        }
      });
  }

  std::unique_ptr<vm::Machine> machine_ = make_machine(kCpus);
  std::atomic<unsigned> failures_ = 0;
};

TEST_P(Concurrency, AtomicAdditionsToASharedElementAreAllThere) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_ARRAY, 4, 8, 1);
  const auto program = make_program(*machine_, R"(
    *(u32 *)(r10 - 4) = 0
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto failed
    r1 = 1
    lock *(u64 *)(r0 + 0) += r1
    r0 = 0
    exit
  failed:
    r0 = 1
    exit)",
                                    "raw", {map});
  ASSERT_TRUE(program);
  run_everywhere(*program);
  EXPECT_EQ(failures_, 0U);
  const uint32_t key = 0;
  uint64_t sum = 0;
  const maps::EpochDomain::TaskGuard guard(machine_->epochs());
  ASSERT_EQ(map->read(&key, &sum, 0), 0);
  EXPECT_EQ(sum, uint64_t{kCpus} * kRuns);
}

TEST_P(Concurrency, PerCpuCountersNeedNoAtomics) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 16);
  const auto program = make_program(*machine_, R"(
    *(u32 *)(r10 - 4) = 7
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto insert
    r1 = *(u64 *)(r0 + 0)
    r1 += 1
    *(u64 *)(r0 + 0) = r1
    r0 = 0
    exit
  insert:
    *(u64 *)(r10 - 16) = 1
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 0
    call 2
    r0 = 0
    exit)",
                                    "raw", {map});
  ASSERT_TRUE(program);
  // Two threads take turns on each CPU.
  run_everywhere(*program, 2);
  EXPECT_EQ(failures_, 0U);
  const uint32_t key = 7;
  std::array<uint64_t, kCpus> counts{};
  const maps::EpochDomain::TaskGuard guard(machine_->epochs());
  ASSERT_EQ(map->read(&key, counts.data(), 0), 0);
  for (const uint64_t count : counts) EXPECT_EQ(count, 2U * kRuns);
}

TEST_P(Concurrency, ElementsLookedUpOutliveTheirDeletion) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_HASH, 4, 8, 64);
  // Writes its own random key, reads it back while others replace and delete it, deletes another.
  const auto program = make_program(*machine_, R"(
    call 7
    r0 &= 31
    *(u32 *)(r10 - 4) = r0
    r6 = r0
    *(u64 *)(r10 - 16) = r6
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 0
    call 2
    if r0 != 0 goto done
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto done
    r7 = r0
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    call 3
    r0 = *(u64 *)(r7 + 0)
    r0 -= r6
    exit
  done:
    exit)",
                                    "raw", {map});
  ASSERT_TRUE(program);
  run_everywhere(*program);
  EXPECT_EQ(failures_, 0U) << "an element showed another's value while a run could reach it";
}

INSTANTIATE_TEST_SUITE_P(Engines, Concurrency, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace skep::test
