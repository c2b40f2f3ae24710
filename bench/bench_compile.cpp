// How long does it take from a program's instructions to its machine code?

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <vector>

#include "bench/medians.hpp"
#include "bench/skep_program.hpp"
#include "bench/suite.hpp"
#include "skep/machine.hpp"
#include "vm/machine.hpp"
#include "vm/program.hpp"

namespace skep::bench {
namespace {

constexpr const char* kSteps[] = {"lower", "verified", "checked"};

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

void print_table(const std::vector<Input>& inputs, const Medians& medians) {
  fmt::print("{:15}{:>7}{:>8}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "", "", "code", "lowering", "verified",
             "checked", "verified", "checked");
  fmt::print("{:15}{:>7}{:>8}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "program", "insns", "bytes", "ns", "ns", "ns",
             "ns/insn", "ns/insn");
  std::vector<double> verified;
  std::vector<double> checked;
  for (const Input& input : inputs) {
    const double count = static_cast<double>(input.instructions.size());
    const auto time = [&](const char* step) { return medians.find(benchmark_name(input, step)).value_or(0); };
    const double v = time(kSteps[1]);
    const double c = time(kSteps[2]);
    if (v == 0 || c == 0) continue;
    verified.push_back(v / count);
    checked.push_back(c / count);
    fmt::print("{:15}{:>7}{:>8}{:>12.0f}{:>12.0f}{:>12.0f}{:>12.1f}{:>12.1f}\n", input.name,
               input.instructions.size(), input.code_bytes, time(kSteps[0]), v, c, v / count, c / count);
  }
  if (verified.empty()) return;
  fmt::print("{:66}{:>12.1f}{:>12.1f}\n", "geometric mean", geometric_mean(verified),
             geometric_mean(checked));
}

int run(int argc, char** argv) {
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
  return skep::bench::run(argc, argv);
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
