// What does each way of hardening the JIT cost, and what does naming its code for perf and GDB?
//
//   bench_hardening [--mode=checked|verified] [--markdown] [Google Benchmark's options]

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "bench/measure.hpp"
#include "bench/skep_program.hpp"
#include "bench/suite.hpp"
#include "bench/table.hpp"
#include "bench/timings.hpp"

namespace skep::bench {
namespace {

// A machine's options; the first is what the others are held against.
struct Variant {
  const char* name;
  Hardening harden = {};
  bool perf_map = false;
  bool gdb_jit = false;

  MachineOptions options(Mode mode) const {
    return {.cpus = 1, .mode = mode, .harden = harden, .perf_map = perf_map, .gdb_jit = gdb_jit};
  }
};
constexpr Variant kRunning[] = {
    {.name = "plain"},
    {.name = "blinding", .harden = {.blinding = true}},
    {.name = "retpolines", .harden = {.retpolines = true}},
    {.name = "guard-pages", .harden = {.guard_pages = true}},
    {.name = "all", .harden = {.blinding = true, .retpolines = true, .guard_pages = true}},
};
constexpr Variant kTranslating[] = {
    {.name = "plain"},
    {.name = "blinding", .harden = {.blinding = true}},
    {.name = "retpolines", .harden = {.retpolines = true}},
    {.name = "perf-map", .perf_map = true},
    {.name = "gdb-jit", .gdb_jit = true},
};
constexpr benchmark::IterationCount kTranslations = 200;

// Of calls.bpf.c, which the suite's programs have none of: name, and what it returns.
struct CallProgram {
  const char* name;
  uint64_t operations;
  uint64_t result;
};
constexpr CallProgram kCalls[] = {{"tail", 32, 1}, {"helper", 1000, 0}, {"function", 1000, 0}};

// A program in every variant.
struct Subject {
  std::string name;
  std::string object;
  std::vector<std::byte> memory;
  uint64_t result;
  std::vector<std::byte> initial = {};  // what a run begins with, where it changes its memory
  std::vector<Runner> runners = {};     // by kRunning
  std::vector<Program> programs = {};   // by kTranslating
};

std::string run_name(const Subject& subject, const Variant& variant) {
  return fmt::format("run/{}/{}", subject.name, variant.name);
}
std::string translation_name(const Subject& subject, const Variant& variant) {
  return fmt::format("translate/{}/{}", subject.name, variant.name);
}

std::deque<Subject> subjects() {
  std::deque<Subject> all;
  for (const SuiteProgram& program : suite()) {
    std::vector<std::byte> memory = make_memory(program.memory);
    const uint64_t result = program.native(memory.data(), memory.size());
    all.push_back({program.name, object_path(program, "v3"), std::move(memory), result});
  }
  for (const CallProgram& program : kCalls) {
    std::vector<std::byte> memory(sizeof program.operations);
    std::ranges::copy(std::as_bytes(std::span(&program.operations, 1)), memory.begin());
    all.push_back({program.name, SKEP_BPF_DIR "/calls.bpf.o", memory, program.result, memory});
  }
  return all;
}

uint64_t run_once(Subject& subject, size_t variant) {
  std::ranges::copy(subject.initial, subject.memory.begin());
  return run(subject.runners[variant], subject.memory);
}

// All variants have to agree before anything is timed.
void load_all(Subject& subject, Mode mode) {
  for (const Variant& variant : kRunning) {
    subject.runners.push_back(load(subject.object, subject.name, variant.options(mode)));
    if (const uint64_t got = run_once(subject, subject.runners.size() - 1); got != subject.result)
      throw std::runtime_error(
          fmt::format("{}: {:#x}, not {:#x}", run_name(subject, variant), got, subject.result));
  }
  for (const Variant& variant : kTranslating)
    subject.programs.push_back(load_program(subject.object, subject.name, variant.options(mode)));
}

void register_benchmarks(Subject& subject) {
  for (size_t n = 0; n < std::size(kRunning); ++n)
    benchmark::RegisterBenchmark(run_name(subject, kRunning[n]).c_str(),
                                 [&subject, n](benchmark::State& state) {
                                   for (auto _ : state) benchmark::DoNotOptimize(run_once(subject, n));
                                 });
  for (size_t n = 0; n < std::size(kTranslating); ++n)
    benchmark::RegisterBenchmark(translation_name(subject, kTranslating[n]).c_str(),
                                 [&subject, n](benchmark::State& state) {
                                   for (auto _ : state)
                                     benchmark::DoNotOptimize(subject.programs[n].compile());
                                 })
        ->Iterations(kTranslations);
}

// Times of the first variant, and how many times that the others take.
template <size_t kVariants>
void print_table(const char* what, const std::deque<Subject>& all, const Timings& timings,
                 const Variant (&variants)[kVariants], std::string (*name)(const Subject&, const Variant&),
                 bool as_markdown) {
  std::vector<std::string> heading{what, "plain, ns"};
  for (size_t n = 1; n < kVariants; ++n) heading.emplace_back(variants[n].name);
  Table table(heading);
  std::array<std::vector<double>, kVariants> ratios;
  for (const Subject& subject : all) {
    const auto plain = timings.find(name(subject, variants[0]));
    if (!plain) continue;
    std::vector<std::string> row{subject.name, with_spread(plain->median, *plain)};
    for (size_t n = 1; n < kVariants; ++n) {
      const auto time = timings.find(name(subject, variants[n]));
      row.push_back(time ? with_spread(time->median / plain->median, *time) : "-");
      if (time) ratios[n].push_back(time->median / plain->median);
    }
    table.add(std::move(row));
  }
  std::vector<std::string> means{"geometric mean", ""};
  for (size_t n = 1; n < kVariants; ++n)
    means.push_back(ratios[n].empty() ? "-" : fmt::format("{:.2f}", geometric_mean(ratios[n])));
  table.add(std::move(means));
  table.print(as_markdown);
}

}  // namespace

int measure(int argc, char** argv) {
  const bool verified = take_flag(argc, argv, "--mode=verified");
  static_cast<void>(take_flag(argc, argv, "--mode=checked"));
  const bool as_markdown = take_flag(argc, argv, "--markdown");
  initialize(argc, argv);
  std::deque<Subject> all = subjects();
  for (Subject& subject : all) {
    load_all(subject, verified ? Mode::kVerified : Mode::kChecked);
    register_benchmarks(subject);
  }
  Timings timings;
  benchmark::RunSpecifiedBenchmarks(&timings);
  print_table("running", all, timings, kRunning, run_name, as_markdown);
  fmt::print("\n");
  print_table("translating", all, timings, kTranslating, translation_name, as_markdown);
  // Thousands of translations were named.
  std::remove(fmt::format("/tmp/perf-{}.map", getpid()).c_str());
  return 0;
}

}  // namespace skep::bench
