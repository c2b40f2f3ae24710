// How fast do the engines execute, held against native code and the kernel?
//
//   bench_engines [--cpu=v3|v4] [--markdown] [Google Benchmark's options]

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "bench/instruction_count.hpp"
#include "bench/kernel_program.hpp"
#include "bench/measure.hpp"
#include "bench/skep_program.hpp"
#include "bench/suite.hpp"
#include "bench/table.hpp"
#include "bench/timings.hpp"

namespace skep::bench {
namespace {

constexpr uint32_t kKernelRepeat = 1000;
constexpr size_t kColumns = std::size(kExecutions) + 1;  // and the kernel
// What the kernel runs is compared with: the same XDP program, run by the JIT over a packet.
constexpr Execution kPacketExecution{"jit-xdp", Engine::kJit, Mode::kVerified};

// A program of the suite in every engine.
struct Contestants {
  const SuiteProgram* suite = nullptr;
  std::vector<std::byte> memory;
  uint64_t checksum = 0;
  uint64_t instructions = 0;    // executed in a run
  std::vector<Runner> runners;  // in the order of kExecutions
  std::optional<Runner> packet_runner;
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

uint64_t run_packet(Contestants& c) {
  const auto outcome = c.packet_runner->run({.data = c.memory});
  if (!outcome) throw std::runtime_error(outcome.error().message);
  if (outcome->faulted) throw std::runtime_error(c.packet_runner->fault()->message);
  return outcome->return_value;
}

uint64_t packet_result(const Contestants& c) {
  return static_cast<uint32_t>(c.checksum ^ (c.checksum >> 32));
}

void load_packet_program(Contestants& c, const std::string& object) {
  c.packet_runner = load(object, c.suite->name + "_xdp", kPacketExecution);
  expect_equal(c, kPacketExecution.name, run_packet(c), packet_result(c));
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
  expect_equal(c, "kernel", run->verdict, packet_result(c));
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
  load_packet_program(c, object);
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
  benchmark::RegisterBenchmark(benchmark_name(c, kPacketExecution.name).c_str(),
                               [&c](benchmark::State& state) {
                                 for (auto _ : state) benchmark::DoNotOptimize(run_packet(c));
                               });
  benchmark::RegisterBenchmark(benchmark_name(c, "kernel").c_str(), [&c](benchmark::State& state) {
    while (state.KeepRunningBatch(kKernelRepeat)) {
      const auto run = c.kernel->run(c.memory, kKernelRepeat);
      state.SetIterationTime(run ? run->nanoseconds * 1e-9 * kKernelRepeat : 0);
      if (!run) return state.SkipWithError(run.error().message.c_str());
    }
  })->UseManualTime();
}

const char* engine_name(size_t column) {
  return column < std::size(kExecutions) ? kExecutions[column].name : "kernel";
}

// Ratios over native code, engine by engine, for their means.
struct Ratios {
  std::array<std::vector<double>, kColumns> engines;
  std::vector<double> packets_over_kernel;
  std::vector<double> nanoseconds_per_instruction;
};

// What a run takes natively, and how many times that in each engine.
std::vector<std::string> row(const Contestants& c, const Timings& timings, Ratios& ratios) {
  const auto native = timings.find(benchmark_name(c, "native"));
  std::vector<std::string> cells{c.suite->name, fmt::format("{}", c.instructions),
                                 fmt::format("{:.0f} ±{:.0f}%", native->median, 100 * native->spread())};
  for (size_t n = 0; n < kColumns; ++n) {
    const auto time = timings.find(benchmark_name(c, engine_name(n)));
    cells.push_back(time ? with_spread(time->median / native->median, *time) : "-");
    if (time) ratios.engines[n].push_back(time->median / native->median);
  }
  const auto kernel = timings.find(benchmark_name(c, "kernel"));
  const auto packet = timings.find(benchmark_name(c, kPacketExecution.name));
  if (kernel && packet) ratios.packets_over_kernel.push_back(packet->median / kernel->median);
  cells.push_back(kernel && packet ? with_spread(ratios.packets_over_kernel.back(), *packet) : "-");
  const auto interpreted = timings.find(benchmark_name(c, kExecutions[0].name));
  if (interpreted)
    ratios.nanoseconds_per_instruction.push_back(interpreted->median / static_cast<double>(c.instructions));
  cells.push_back(interpreted ? fmt::format("{:.2f}", ratios.nanoseconds_per_instruction.back()) : "-");
  return cells;
}

std::string mean_cell(const std::vector<double>& values) {
  return values.empty() ? "-" : fmt::format("{:.2f}", geometric_mean(values));
}

// kExecutions has each engine verified, then checked.
void print_cost_of_checks(const Ratios& ratios) {
  for (size_t n = 0; n + 1 < std::size(kExecutions); n += 2)
    if (!ratios.engines[n].empty() && !ratios.engines[n + 1].empty())
      fmt::print("\n{} takes {:.2f} times what {} takes, in the geometric mean.\n", engine_name(n + 1),
                 geometric_mean(ratios.engines[n + 1]) / geometric_mean(ratios.engines[n]), engine_name(n));
}

void print_table(const std::vector<Contestants>& all, const Timings& timings, bool as_markdown) {
  std::vector<std::string> heading{"program", "executed", "native, ns"};
  for (size_t n = 0; n < kColumns; ++n) heading.emplace_back(engine_name(n));
  heading.emplace_back("jit / kernel");
  heading.emplace_back("interp, ns/insn");
  Table table(heading);
  Ratios ratios;
  for (const Contestants& c : all)
    if (timings.find(benchmark_name(c, "native"))) table.add(row(c, timings, ratios));
  std::vector<std::string> means{"geometric mean", "", ""};
  for (const auto& column : ratios.engines) means.push_back(mean_cell(column));
  means.push_back(mean_cell(ratios.packets_over_kernel));
  means.push_back(mean_cell(ratios.nanoseconds_per_instruction));
  table.add(std::move(means));
  table.print(as_markdown);
  print_cost_of_checks(ratios);
  for (const Contestants& c : all)
    if (!c.kernel) fmt::print("\nNot in the kernel: {}: {}\n", c.suite->name, c.kernel_refusal);
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

}  // namespace

int measure(int argc, char** argv) {
  const std::string cpu = cpu_argument(argc, argv);
  const bool as_markdown = take_flag(argc, argv, "--markdown");
  initialize(argc, argv);
  std::vector<Contestants> all;
  for (const SuiteProgram& program : suite()) all.push_back(prepare(program, cpu));
  for (Contestants& c : all) register_benchmarks(c);
  Timings timings;
  benchmark::RunSpecifiedBenchmarks(&timings);
  print_table(all, timings, as_markdown);
  return 0;
}

}  // namespace skep::bench
