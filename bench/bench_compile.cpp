// How long does it take from a program's instructions to its machine code? The JIT's steps include lowering
// and the passes.
//
//   bench_compile [--markdown] [Google Benchmark's options]

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bench/measure.hpp"
#include "bench/skep_program.hpp"
#include "bench/suite.hpp"
#include "bench/table.hpp"
#include "bench/timings.hpp"
#include "skep/machine.hpp"
#include "vm/machine.hpp"
#include "vm/program.hpp"

namespace skep::bench {
namespace {

constexpr const char* kSteps[] = {"lowering", "jit-verified", "jit-checked"};

struct Input {
  std::string name;
  std::vector<isa::Encoded> instructions;
  size_t code_bytes = 0;  // of verified machine code
};

std::shared_ptr<vm::Program> lower(vm::Machine& machine, const Input& input) {
  vm::ProgramSpec spec;
  spec.type = vm::find_program_type("raw");
  spec.license = "GPL";
  spec.instructions = input.instructions;
  const auto no_maps = [](int32_t, bool) -> Result<std::shared_ptr<maps::Map>> {
    return fail(EBADF, "no map");
  };
  auto program = vm::Program::create(std::move(spec), {machine.helpers(), machine.engines(), 1}, no_maps);
  if (!program) throw std::runtime_error(program.error().message);
  return std::move(*program);
}

std::unique_ptr<vm::Executable> compile(vm::Machine& machine, const Input& input, vm::Mode mode) {
  const auto program = lower(machine, input);
  return machine.engines().get(vm::EngineKind::kJit).prepare(*program, mode);
}

std::string benchmark_name(const Input& input, const char* step) {
  return fmt::format("{}/{}", input.name, step);
}

void register_benchmarks(vm::Machine& machine, const Input& input) {
  benchmark::RegisterBenchmark(benchmark_name(input, kSteps[0]).c_str(), [&](benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(lower(machine, input));
  });
  for (const auto mode : {vm::Mode::kVerified, vm::Mode::kChecked}) {
    const char* step = mode == vm::Mode::kVerified ? kSteps[1] : kSteps[2];
    benchmark::RegisterBenchmark(benchmark_name(input, step).c_str(), [&, mode](benchmark::State& state) {
      for (auto _ : state) benchmark::DoNotOptimize(compile(machine, input, mode));
    });
  }
}

// Instructions and nanoseconds, for each step.
using Points = std::array<std::vector<std::pair<double, double>>, std::size(kSteps)>;

// Least squares: what every program costs, and what an instruction adds.
struct Fit {
  double fixed = 0;
  double per_instruction = 0;
};

Fit fit(const std::vector<std::pair<double, double>>& points) {
  const auto n = static_cast<double>(points.size());
  double x = 0;
  double y = 0;
  double xx = 0;
  double xy = 0;
  for (const auto& [size, time] : points) {
    x += size;
    y += time;
    xx += size * size;
    xy += size * time;
  }
  const double slope = (n * xy - x * y) / (n * xx - x * x);
  return {(y - slope * x) / n, slope};
}

void print_fits(const Points& points, bool as_markdown) {
  Table table({"nanoseconds", "a program", "an instruction"});
  for (size_t step = 0; step < std::size(kSteps); ++step) {
    if (points[step].size() < 2) continue;
    const Fit line = fit(points[step]);
    table.add({kSteps[step], fmt::format("{:.0f}", line.fixed), fmt::format("{:.1f}", line.per_instruction)});
  }
  if (table.empty()) return;
  fmt::print("\n");
  table.print(as_markdown);
}

void print_tables(const std::vector<Input>& inputs, const Timings& timings, bool as_markdown) {
  std::vector<std::string> heading{"program", "instructions", "bytes of code"};
  for (const char* step : kSteps) heading.push_back(fmt::format("{}, ns", step));
  Table table(heading);
  Points points;
  for (const Input& input : inputs) {
    const auto size = static_cast<double>(input.instructions.size());
    std::vector<std::string> row{input.name, fmt::format("{}", input.instructions.size()),
                                 fmt::format("{}", input.code_bytes)};
    for (size_t step = 0; step < std::size(kSteps); ++step) {
      const auto time = timings.find(benchmark_name(input, kSteps[step]));
      if (time) points[step].emplace_back(size, time->median);
      row.push_back(time ? fmt::format("{:.0f} ±{:.0f}%", time->median, 100 * time->spread()) : "-");
    }
    table.add(std::move(row));
  }
  table.print(as_markdown);
  print_fits(points, as_markdown);
}

}  // namespace

int measure(int argc, char** argv) {
  const bool as_markdown = take_flag(argc, argv, "--markdown");
  initialize(argc, argv);
  auto machine = Machine::create({.cpus = 1, .seed = 1});
  if (!machine) throw std::runtime_error(machine.error().message);
  std::vector<Input> inputs;
  for (const SuiteProgram& program : suite()) {
    Input input{program.name, instructions_of(object_path(program, "v3"), program.name)};
    const auto code = compile(machine->internal(), input, vm::Mode::kVerified);
    input.code_bytes = code->machine_code().size();
    inputs.push_back(std::move(input));
  }
  for (const Input& input : inputs) register_benchmarks(machine->internal(), input);
  Timings timings;
  benchmark::RunSpecifiedBenchmarks(&timings);
  print_tables(inputs, timings, as_markdown);
  return 0;
}

}  // namespace skep::bench
