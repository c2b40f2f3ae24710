// How long does it take from a program's instructions to its machine code?

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bench/medians.hpp"
#include "bench/skep_program.hpp"
#include "bench/suite.hpp"
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

void print_table(const std::vector<Input>& inputs, const Medians& medians) {
  fmt::print("nanoseconds; the JIT's include lowering\n");
  fmt::print("{:15}{:>7}{:>8}{:>11}{:>14}{:>13}\n", "program", "insns", "bytes", "lowering", "jit-verified",
             "jit-checked");
  std::array<std::vector<std::pair<double, double>>, std::size(kSteps)> points;
  for (const Input& input : inputs) {
    const auto size = static_cast<double>(input.instructions.size());
    fmt::print("{:15}{:>7}{:>8}", input.name, input.instructions.size(), input.code_bytes);
    for (size_t step = 0; step < std::size(kSteps); ++step) {
      const auto time = medians.find(benchmark_name(input, kSteps[step]));
      if (time) points[step].emplace_back(size, *time);
      fmt::print("{:>12}", time ? fmt::format("{:.0f}", *time) : "-");
    }
    fmt::print("\n");
  }
  for (size_t step = 0; step < std::size(kSteps); ++step) {
    if (points[step].size() < 2) continue;
    const Fit line = fit(points[step]);
    fmt::print("{}: {:.0f} ns a program and {:.1f} ns an instruction\n", kSteps[step], line.fixed,
               line.per_instruction);
  }
}

int measure(int argc, char** argv) {
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
  Medians medians;
  benchmark::RunSpecifiedBenchmarks(&medians);
  print_table(inputs, medians);
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
