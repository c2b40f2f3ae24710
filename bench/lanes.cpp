#include "bench/lanes.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <stdexcept>

namespace skep::bench {
namespace {

void expect(std::string_view what, uint64_t got, uint64_t operations) {
  if (got != operations)
    throw std::runtime_error(fmt::format("{}: {} operations succeeded, not {}", what, got, operations));
}

}  // namespace

bool has_processors(int threads) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  return sched_getaffinity(0, sizeof usable, &usable) == 0 && CPU_COUNT(&usable) >= threads;
}

Pin::Pin(int n) {
  CPU_ZERO(&before_);
  if (sched_getaffinity(0, sizeof before_, &before_) != 0) return;
  for (unsigned processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(processor, &before_) || n-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
}

Pin::~Pin() { sched_setaffinity(0, sizeof before_, &before_); }

uint64_t operations_of(const OperationRow& row, const char* program, uint32_t entries) {
  return row.whole_map && program == row.program ? entries : kOperations;
}

std::string skep_name(const char* program, uint32_t entries, int threads) {
  return fmt::format("skep/{}/{}/{}", program, entries, threads);
}

std::string kernel_name(const char* program, uint32_t entries, int threads) {
  return fmt::format("kernel/{}/{}/{}", program, entries, threads);
}

std::string anchor_name(const Anchor& anchor, AnchorOperation operation, int threads) {
  return fmt::format("{}/{}/{}", anchor.name(), static_cast<int>(operation), threads);
}

// Every operation of a run finds its key; of two CPUs that delete and insert, one may find that the other has
// just deleted it.
void register_skep(MapWorld& world, const OperationRow& row, const char* program, uint32_t entries,
                   int threads) {
  const std::string name = skep_name(program, entries, threads);
  const uint64_t operations = operations_of(row, program, entries);
  expect(name, world.lane(row, program, 0).run(1), operations);
  benchmark::RegisterBenchmark(name.c_str(), [&world, &row, program, operations](benchmark::State& state) {
    const Pin pin(state.thread_index());
    SkepLane lane = world.lane(row, program, static_cast<unsigned>(state.thread_index()));
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(operations * row.runs)))
      benchmark::DoNotOptimize(lane.run(row.runs));
  })->Threads(threads);
}

void register_kernel(KernelWorld& world, const OperationRow& row, const char* program, uint32_t entries,
                     int threads) {
  const std::string name = kernel_name(program, entries, threads);
  const uint64_t operations = operations_of(row, program, entries);
  expect(name, world.lane(row, program).run(1).returned, operations);
  benchmark::RegisterBenchmark(
      name.c_str(),
      [&world, &row, program, operations](benchmark::State& state) {
        const Pin pin(state.thread_index());
        const KernelLane lane = world.lane(row, program);
        while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(operations * row.runs)))
          state.SetIterationTime(lane.run(row.runs).nanoseconds * 1e-9 * row.runs);
      })
      ->Threads(threads)
      ->UseManualTime();
}

void register_anchor(Anchor& anchor, AnchorOperation operation, uint32_t entries, int threads) {
  const std::string name = anchor_name(anchor, operation, threads);
  RandomKeys first(entries, 0);
  anchor.enter();
  const uint64_t done = anchor.run(operation, first, kOperations);
  anchor.leave();
  expect(name, done, kOperations);
  benchmark::RegisterBenchmark(name.c_str(), [&anchor, operation, entries](benchmark::State& state) {
    const Pin pin(state.thread_index());
    RandomKeys keys(entries, static_cast<unsigned>(state.thread_index()));
    anchor.enter();
    while (state.KeepRunningBatch(kOperations))
      benchmark::DoNotOptimize(anchor.run(operation, keys, kOperations));
    anchor.leave();
  })->Threads(threads);
}

}  // namespace skep::bench
