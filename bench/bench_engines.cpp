// How fast do the engines execute, held against native code and the kernel?
//
//   bench_engines [--cpu=v3|v4] [Google Benchmark's options]

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <vector>

#include "bench/instruction_count.hpp"
#include "bench/kernel_program.hpp"
#include "bench/medians.hpp"
#include "bench/skep_program.hpp"
#include "bench/suite.hpp"

namespace skep::bench {
namespace {

constexpr uint32_t kKernelRepeat = 1000;
constexpr size_t kColumns = std::size(kExecutions) + 1;  // and the kernel

// A program of the suite in every engine.
struct Contestants {
  const SuiteProgram* suite = nullptr;
  std::vector<std::byte> memory;
  uint64_t checksum = 0;
  uint64_t instructions = 0;    // executed in a run
  std::vector<Runner> runners;  // in the order of kExecutions
  std::optional<KernelProgram> kernel;
  std::string kernel_refusal;
};

std::string benchmark_name(const Contestants& c, std::string_view engine) {
  return fmt::format("{}/{}", c.suite->name, engine);
}

uint64_t run_native(Contestants& c) { return c.suite->native(c.memory.data(), c.memory.size()); }

void expect_equal(const Contestants& c, std::string_view engine, uint64_t got, uint64_t want) {
  if (got == want) return;
  throw std::runtime_error(
      fmt::format("{}: {:#x}, but native code says {:#x}", benchmark_name(c, engine), got, want));
}

void load_kernel(Contestants& c, const std::string& object) {
  const std::string name = c.suite->name + "_xdp";
  auto loaded = KernelProgram::load(instructions_of(object, name), name);
  if (!loaded) {
    c.kernel_refusal = loaded.error().message;
    return;
  }
  const auto run = loaded->run(c.memory, 1);
  if (!run) {
    c.kernel_refusal = run.error().message;
    return;
  }
  expect_equal(c, "kernel", run->verdict, static_cast<uint32_t>(c.checksum ^ (c.checksum >> 32)));
  c.kernel = std::move(*loaded);
}

// All engines have to agree before anything is timed.
Contestants prepare(const SuiteProgram& suite, std::string_view cpu) {
  Contestants c;
  c.suite = &suite;
  c.memory = make_memory(suite.memory);
  c.checksum = run_native(c);
  const std::string object = object_path(suite, cpu);
  const Count count = count_instructions(instructions_of(object, suite.name), c.memory);
  expect_equal(c, "count", count.r0, c.checksum);
  c.instructions = count.instructions;
  for (const Execution& execution : kExecutions) {
    c.runners.push_back(load(object, suite.name, execution));
    expect_equal(c, execution.name, run(c.runners.back(), c.memory), c.checksum);
  }
  load_kernel(c, object);
  return c;
}

void register_benchmarks(Contestants& c) {
  benchmark::RegisterBenchmark(benchmark_name(c, "native").c_str(), [&c](benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(run_native(c));
  });
  for (size_t n = 0; n < c.runners.size(); ++n) {
    benchmark::RegisterBenchmark(benchmark_name(c, kExecutions[n].name).c_str(),
                                 [&c, n](benchmark::State& state) {
                                   for (auto _ : state) benchmark::DoNotOptimize(run(c.runners[n], c.memory));
                                 });
  }
  if (!c.kernel) return;
  benchmark::RegisterBenchmark(benchmark_name(c, "kernel").c_str(), [&c](benchmark::State& state) {
    while (state.KeepRunningBatch(kKernelRepeat)) {
      const auto run = c.kernel->run(c.memory, kKernelRepeat);
      state.SetIterationTime(run ? run->nanoseconds * 1e-9 * kKernelRepeat : 0);
      if (!run) return state.SkipWithError(run.error().message.c_str());
    }
  })->UseManualTime();
}

std::string cell(std::optional<double> value) { return value ? fmt::format("{:8.2f}", *value) : "       -"; }

// One row: what a run takes natively, and how many times that in each engine.
void print_row(const Contestants& c, const Medians& medians, std::vector<std::vector<double>>& ratios,
               std::vector<double>& per_instruction) {
  const auto native = medians.find(benchmark_name(c, "native"));
  if (!native) return;
  std::string line = fmt::format("{:15} {:7} {:9.0f}", c.suite->name, c.instructions, *native);
  for (size_t n = 0; n < kColumns; ++n) {
    const char* engine = n < std::size(kExecutions) ? kExecutions[n].name : "kernel";
    auto time = medians.find(benchmark_name(c, engine));
    if (time) ratios[n].push_back(*time / *native);
    line += cell(time ? std::optional(*time / *native) : std::nullopt);
  }
  const auto interpreted = medians.find(benchmark_name(c, kExecutions[0].name));
  if (interpreted) per_instruction.push_back(*interpreted / static_cast<double>(c.instructions));
  line += cell(interpreted ? std::optional(per_instruction.back()) : std::nullopt);
  fmt::print("{}\n", line);
}

void print_table(const std::vector<Contestants>& all, const Medians& medians) {
  fmt::print("{:15} {:>7} {:>9}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}\n", "", "", "native", "interp", "interp", "jit",
             "jit", "kernel", "interp");
  fmt::print("{:15} {:>7} {:>9}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}\n", "program", "insns", "ns", "verif.",
             "checked", "verif.", "checked", "", "ns/insn");
  std::vector<std::vector<double>> ratios(kColumns);
  std::vector<double> per_instruction;
  for (const Contestants& c : all) print_row(c, medians, ratios, per_instruction);
  std::string line = fmt::format("{:33}", "geometric mean of the ratios");
  for (const auto& column : ratios)
    line += cell(column.empty() ? std::nullopt : std::optional(geometric_mean(column)));
  line += cell(per_instruction.empty() ? std::nullopt : std::optional(geometric_mean(per_instruction)));
  fmt::print("{}\n", line);
  for (const Contestants& c : all)
    if (!c.kernel) fmt::print("not in the kernel: {}: {}\n", c.suite->name, c.kernel_refusal);
}

// Takes --cpu= out of the arguments.
std::string cpu_argument(int& argc, char** argv) {
  constexpr std::string_view kFlag = "--cpu=";
  for (int n = 1; n < argc; ++n) {
    if (!std::string_view(argv[n]).starts_with(kFlag)) continue;
    std::string cpu(argv[n] + kFlag.size());
    std::copy(argv + n + 1, argv + argc, argv + n);
    --argc;
    return cpu;
  }
  return "v3";
}

int measure(int argc, char** argv) {
  const std::string cpu = cpu_argument(argc, argv);
  initialize(argc, argv);
  std::vector<Contestants> all;
  for (const SuiteProgram& program : suite()) all.push_back(prepare(program, cpu));
  for (Contestants& c : all) register_benchmarks(c);
  Medians medians;
  benchmark::RunSpecifiedBenchmarks(&medians);
  print_table(all, medians);
  return 0;
}

}  // namespace
}  // namespace skep::bench

int main(int argc, char** argv) try {
  return skep::bench::measure(argc, argv);
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
