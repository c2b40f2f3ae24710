// What do operations on maps cost inside programs, on one CPU and on several at once?
//
//   bench_maps [--entries=1024|65536|1048576|16777216] [--cpus=N] [--markdown] [Google Benchmark's options]

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "bench/measure.hpp"
#include "bench/table.hpp"
#include "bench/timings.hpp"
#include "skep/machine.hpp"

namespace skep::bench {
namespace {

// As in maps.bpf.c.
constexpr uint64_t kOperations = 256;

constexpr std::array kThreads = {1, 2};

// A program of maps.bpf.c, the map it is for, and the program whose time is that of the loop alone.
struct Operation {
  const char* program;
  const char* label;
  const char* map;
  const char* loop;
  bool whole_map = false;  // one operation for each element, not kOperations
};
constexpr Operation kOperationRows[] = {
    {"lookup", "hash lookup, 4-byte key", "hash", "loop"},
    {"lookup_wide", "hash lookup, 16-byte key", "hash_wide", "loop_wide"},
    {"replace", "hash replace", "hash", "loop"},
    {"reinsert", "hash delete + insert", "hash", "loop"},
    {"reinsert_as_needed", "the same, NO_PREALLOC", "hash_as_needed", "loop"},
    {"percpu_lookup", "percpu_hash lookup", "percpu_hash", "loop"},
    {"percpu_update", "percpu_hash update", "percpu_hash", "loop"},
    {"walk", "for_each, per element", "hash", nullptr, true},
};
constexpr const char* kLoops[] = {"loop", "loop_wide"};

struct Setting {
  uint64_t entries = 65536;
  unsigned cpus = 2;
};

template <class T>
T checked(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// The machine with maps.bpf.c in it, all maps full: key n has the value n.
class World {
 public:
  explicit World(const Setting& setting)
      : setting_(setting),
        machine_(checked(Machine::create(
            {.cpus = setting.cpus, .seed = 1, .engine = Engine::kJit, .mode = Mode::kVerified}))),
        object_(checked(machine_.open(fmt::format("{}/maps.{}.bpf.o", SKEP_BPF_DIR, setting.entries)))) {
    checked(object_.load());
  }

  // Fills the map if it is not full yet.
  void fill(std::string_view name) {
    const Map map = checked(object_.map(name));
    if (map.next_key(std::nullopt)) return;
    std::vector<std::byte> key(map.key_size());
    std::vector<std::byte> value(map.user_value_size());
    for (uint32_t n = 0; n < setting_.entries; ++n) {
      const std::array<uint32_t, 4> words{n, 0, n, 1};
      std::memcpy(key.data(), words.data(), key.size());
      const uint64_t number = n;
      for (size_t at = 0; at < value.size(); at += sizeof number)
        std::memcpy(value.data() + at, &number, sizeof number);
      checked(map.update(key, value));
    }
  }

  Runner runner(const char* program, unsigned cpu) const {
    return checked(checked(object_.program(program)).runner(cpu));
  }

 private:
  Setting setting_;
  Machine machine_;
  Object object_;
};

std::string benchmark_name(const char* program, int threads) {
  return fmt::format("{}/{}", program, threads);
}

uint64_t run_once(Runner& runner) {
  const RunOutcome outcome = runner.run_in_place({});
  if (outcome.faulted) throw std::runtime_error(runner.fault()->message);
  return outcome.return_value;
}

// Every operation of a run finds its key; of two CPUs that delete and insert, one may find that the other has
// just deleted it.
void check(World& world, const char* program, uint64_t operations) {
  Runner runner = world.runner(program, 0);
  if (const uint64_t got = run_once(runner); got != operations)
    throw std::runtime_error(fmt::format("{}: {}, not {}", program, got, operations));
}

void register_benchmark(World& world, const char* program, int threads, uint64_t operations) {
  check(world, program, operations);
  benchmark::RegisterBenchmark(benchmark_name(program, threads).c_str(), [&world, program, operations](
                                                                             benchmark::State& state) {
    Runner runner = world.runner(program, static_cast<unsigned>(state.thread_index()));
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(operations)))
      benchmark::DoNotOptimize(run_once(runner));
  })->Threads(threads);
}

std::string cell(const Timings& timings, const Operation& operation, int threads) {
  const auto time = timings.find(benchmark_name(operation.program, threads));
  if (!time) return "-";
  double loop = 0;
  if (operation.loop != nullptr) {
    const auto found = timings.find(benchmark_name(operation.loop, threads));
    if (!found) return "-";
    loop = found->median;
  }
  return with_spread(time->median - loop, *time);
}

void print_table(const Timings& timings, const Setting& setting, bool as_markdown) {
  std::vector<std::string> heading{fmt::format("ns, {} entries, {} CPUs", setting.entries, setting.cpus)};
  for (const int threads : kThreads) heading.push_back(fmt::format("on {} at once", threads));
  Table table(heading);
  for (const Operation& operation : kOperationRows) {
    std::vector<std::string> row{operation.label};
    for (const int threads : kThreads) row.push_back(cell(timings, operation, threads));
    table.add(std::move(row));
  }
  table.print(as_markdown);
}

template <class Number>
Number take_number(int& argc, char** argv, std::string_view flag, Number otherwise) {
  for (int n = 1; n < argc; ++n) {
    std::string_view word = argv[n];
    if (!word.starts_with(flag)) continue;
    word.remove_prefix(flag.size());
    if (std::from_chars(word.data(), word.data() + word.size(), otherwise).ec != std::errc())
      throw std::runtime_error(fmt::format("{} wants a number", flag));
    for (int next = n; next < argc; ++next) argv[next] = argv[next + 1];
    --argc;
    break;
  }
  return otherwise;
}

}  // namespace

int measure(int argc, char** argv) {
  const bool as_markdown = take_flag(argc, argv, "--markdown");
  Setting setting;
  setting.entries = take_number(argc, argv, "--entries=", setting.entries);
  setting.cpus = take_number(argc, argv, "--cpus=", setting.cpus);
  initialize(argc, argv);
  World world(setting);
  for (const char* loop : kLoops)
    for (const int threads : kThreads)
      if (static_cast<unsigned>(threads) <= setting.cpus)
        register_benchmark(world, loop, threads, kOperations);
  for (const Operation& operation : kOperationRows) {
    world.fill(operation.map);
    for (const int threads : kThreads)
      if (static_cast<unsigned>(threads) <= setting.cpus)
        register_benchmark(world, operation.program, threads,
                           operation.whole_map ? setting.entries : kOperations);
  }
  Timings timings;
  benchmark::RunSpecifiedBenchmarks(&timings);
  print_table(timings, setting, as_markdown);
  return 0;
}

}  // namespace skep::bench
