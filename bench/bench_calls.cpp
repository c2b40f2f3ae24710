// What do a run, a tail call, an iteration of bpf_loop, helper calls and lookups cost?
//
//   bench_calls [--markdown] [Google Benchmark's options]

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

#include "bench/measure.hpp"
#include "bench/skep_program.hpp"
#include "bench/table.hpp"
#include "bench/timings.hpp"

namespace skep::bench {
namespace {

// A program of calls.bpf.c, how many operations one run of it is, and what it returns.
struct Question {
  const char* program;
  const char* operation;
  uint64_t operations;
  uint64_t result;
};
constexpr Question kQuestions[] = {
    {"empty", "run of an empty program", 1, 0},
    {"tail", "tail call", 33, 1},
    {"loop", "iteration of bpf_loop", 10000, 49'995'000},
    {"helper", "helper call (of an iteration)", 1000, 0},
    {"function", "helper that is always called", 1000, 0},
    {"array_lookup", "lookup in an array", 1000, 1000},
    {"hash_lookup", "lookup in a hash table", 1000, 0},
};

// In one go: Google Benchmark's own counting takes as long as an empty program.
constexpr uint64_t kRuns = 16;

std::string benchmark_name(const Question& question, const Execution& execution) {
  return fmt::format("{}/{}", question.program, execution.name);
}

uint64_t run_once(Runner& runner) {
  std::array<std::byte, 8> memory{};
  return run(runner, memory);
}

void register_benchmark(const Question& question, const Execution& execution) {
  const auto runner =
      std::make_shared<Runner>(load(SKEP_BPF_DIR "/calls.bpf.o", question.program, execution));
  const std::string name = benchmark_name(question, execution);
  if (const uint64_t got = run_once(*runner); got != question.result)
    throw std::runtime_error(fmt::format("{}: {}, not {}", name, got, question.result));
  benchmark::RegisterBenchmark(name.c_str(), [runner, &question](benchmark::State& state) {
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(kRuns * question.operations)))
      for (uint64_t n = 0; n < kRuns; ++n) benchmark::DoNotOptimize(run_once(*runner));
  });
}

void print_table(const Timings& timings, bool as_markdown) {
  std::vector<std::string> heading{"nanoseconds for one"};
  for (const Execution& execution : kExecutions) heading.emplace_back(execution.name);
  Table table(heading);
  for (const Question& question : kQuestions) {
    std::vector<std::string> row{question.operation};
    for (const Execution& execution : kExecutions) {
      const auto time = timings.find(benchmark_name(question, execution));
      row.push_back(time ? with_spread(time->median, *time) : "-");
    }
    table.add(std::move(row));
  }
  table.print(as_markdown);
}

}  // namespace

int measure(int argc, char** argv) {
  const bool as_markdown = take_flag(argc, argv, "--markdown");
  initialize(argc, argv);
  for (const Question& question : kQuestions)
    for (const Execution& execution : kExecutions) register_benchmark(question, execution);
  Timings timings;
  benchmark::RunSpecifiedBenchmarks(&timings);
  print_table(timings, as_markdown);
  return 0;
}

}  // namespace skep::bench
