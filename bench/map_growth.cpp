#include "bench/map_growth.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/lanes.hpp"
#include "bench/table.hpp"
#include "bench/timings.hpp"
#include "maps/epoch.hpp"
#include "maps/map.hpp"

namespace skep::bench {
namespace {

constexpr unsigned kCpuCounts[] = {1, 2, 4, 64, 1024};
constexpr uint32_t kEntriesForCpus = 65536;
constexpr uint32_t kMostForMemory = 1 << 20;
// With so much memory left over for others.
constexpr uint64_t kSpare = uint64_t{1} << 30;
// What an entry of all maps takes here and in the kernel, roughly and rather too much.
constexpr uint64_t kBytesPerEntry = 200;

constexpr OperationRow kMemoryRows[] = {
    {"lookup", "hash", "hash"},
    {"reinsert_as_needed", "hash, NO_PREALLOC", "hash_as_needed"},
    {"percpu_lookup", "percpu_hash, 2 CPUs", "percpu_hash"},
};

uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == "MemAvailable:" && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

uint64_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::string count(uint64_t number) {
  if (number >= (1U << 20)) return fmt::format("{}M", number >> 20);
  return number >= 1024 ? fmt::format("{}k", number >> 10) : fmt::format("{}", number);
}

// The first row, which is measured in any case, or all. The others take long to fill.
std::span<const OperationRow> memory_rows(uint32_t entries) {
  return std::span(kMemoryRows).first(entries <= kMostForMemory ? std::size(kMemoryRows) : 1);
}

std::vector<OperationRow> kernel_rows(uint32_t entries) {
  std::vector<OperationRow> out(growth_rows().begin(), growth_rows().end());
  const auto others = memory_rows(entries);
  out.insert(out.end(), others.begin(), others.end());
  return out;
}

// Maps of one size here and in the kernel; their memory is measured while they are filled.
struct Size {
  explicit Size(uint32_t entries)
      : entries(entries), skep(entries, 2), kernel(entries, kernel_rows(entries)) {
    for (const OperationRow& row : memory_rows(entries)) {
      const uint64_t before = resident_memory();
      skep.fill(row);
      bytes_here.push_back(static_cast<double>(resident_memory() - before) / entries);
      if (!kernel.has(row)) continue;
      kernel.fill(row);
      bytes_there.push_back(static_cast<double>(kernel.map_bytes(row)) / entries);
    }
  }

  uint32_t entries;
  MapWorld skep;
  KernelWorld kernel;
  std::vector<double> bytes_here;
  std::vector<double> bytes_there;
};

// A machine of many CPUs, each of which runs in turn.
class ManyCpus {
 public:
  explicit ManyCpus(unsigned cpus) : cpus_(cpus), world_(kEntriesForCpus, cpus) {
    for (const OperationRow& row : growth_rows()) world_.fill(row);
  }

  static std::string name(const char* program, unsigned cpus) {
    return fmt::format("cpus/{}/{}", program, cpus);
  }

  void register_benchmark(const OperationRow& row, const char* program) {
    benchmark::RegisterBenchmark(name(program, cpus_).c_str(),
                                 [this, &row, program](benchmark::State& state) {
                                   const Pin pin(0);
                                   const Program runs = world_.program(row, program);
                                   unsigned cpu = 0;
                                   while (state.KeepRunningBatch(kOperations)) {
                                     const auto result = runs.run_in_place(cpu, {});
                                     if (!result || result->fault) throw std::runtime_error("a run failed");
                                     cpu = cpu + 1 == cpus_ ? 0 : cpu + 1;
                                   }
                                 });
  }

 private:
  unsigned cpus_;
  MapWorld world_;
};

std::string cell(const Timings& timings, const std::string& name, const std::string& loop) {
  const auto time = timings.find(name);
  const auto off = timings.find(loop);
  if (!time || !off) return "-";
  return with_spread(time->median - off->median, *time);
}

void register_size(Size& size) {
  for (const OperationRow& row : growth_rows()) {
    register_skep(size.skep, row, row.program, size.entries, 1);
    if (size.kernel.has(row)) register_kernel(size.kernel, row, row.program, size.entries, 1);
  }
  const OperationRow& first = growth_rows().front();
  register_skep(size.skep, first, first.loop, size.entries, 1);
  if (size.kernel.has(first)) register_kernel(size.kernel, first, first.loop, size.entries, 1);
}

void print_sizes(const std::vector<std::unique_ptr<Size>>& sizes, const Timings& timings, bool as_markdown) {
  std::vector<std::string> heading{"ns, by number of entries"};
  for (const auto& size : sizes) heading.push_back(count(size->entries));
  Table table(heading);
  for (const OperationRow& row : growth_rows()) {
    std::vector<std::string> here{row.label};
    std::vector<std::string> there{"in the kernel"};
    for (const auto& size : sizes) {
      here.push_back(
          cell(timings, skep_name(row.program, size->entries, 1), skep_name(row.loop, size->entries, 1)));
      there.push_back(
          cell(timings, kernel_name(row.program, size->entries, 1), kernel_name(row.loop, size->entries, 1)));
    }
    table.add(std::move(here));
    table.add(std::move(there));
  }
  table.print(as_markdown);
}

void print_cpus(const Timings& timings, bool as_markdown) {
  std::vector<std::string> heading{"ns, by number of simulated CPUs"};
  for (const unsigned cpus : kCpuCounts) heading.push_back(fmt::format("{}", cpus));
  Table table(heading);
  for (const OperationRow& row : growth_rows()) {
    std::vector<std::string> cells{row.label};
    for (const unsigned cpus : kCpuCounts)
      cells.push_back(cell(timings, ManyCpus::name(row.program, cpus), ManyCpus::name(row.loop, cpus)));
    table.add(std::move(cells));
  }
  fmt::print("\n");
  table.print(as_markdown);
}

std::string bytes_cell(const std::vector<double>& bytes, size_t row) {
  return row < bytes.size() ? fmt::format("{:.0f}", bytes[row]) : "-";
}

void print_memory(const std::vector<std::unique_ptr<Size>>& sizes, bool as_markdown) {
  std::vector<std::string> heading{"bytes for an entry of 4 + 8, full"};
  for (const auto& size : sizes) heading.push_back(count(size->entries));
  Table table(heading);
  for (size_t n = 0; n < std::size(kMemoryRows); ++n) {
    std::vector<std::string> here{kMemoryRows[n].label};
    std::vector<std::string> there{"in the kernel"};
    for (const auto& size : sizes) {
      here.push_back(bytes_cell(size->bytes_here, n));
      there.push_back(bytes_cell(size->bytes_there, n));
    }
    table.add(std::move(here));
    table.add(std::move(there));
  }
  fmt::print("\n");
  table.print(as_markdown);
}

// The shortest of some times that it takes to empty a hash table with so many touched elements.
double clear_time(maps::Map& map, maps::EpochDomain& epochs, uint32_t touched) {
  double shortest = 0;
  for (int round = 0; round < 5; ++round) {
    {
      const maps::EpochDomain::CpuGuard guard(epochs, 0);
      for (uint32_t key = 0; key < touched; ++key) {
        const uint64_t value = key;
        if (map.update(&key, &value, BPF_ANY, 0) != 0) throw std::runtime_error("an update failed");
      }
    }
    const auto begin = std::chrono::steady_clock::now();
    map.clear();
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - begin;
    if (round == 0 || time.count() < shortest) shortest = time.count();
  }
  return shortest;
}

void print_clearing(bool as_markdown) {
  constexpr uint32_t kMaxEntries = 1 << 20;
  constexpr uint32_t kTouched[] = {0, 16, 1024, 65536, kMaxEntries};
  maps::EpochDomain epochs(1);
  const auto map = maps::create_map({.type = BPF_MAP_TYPE_HASH,
                                     .key_size = sizeof(uint32_t),
                                     .value_size = sizeof(uint64_t),
                                     .max_entries = kMaxEntries,
                                     .name = "cleared"},
                                    {.cpus = 1, .epochs = &epochs});
  if (!map) throw std::runtime_error(map.error().message);
  std::vector<std::string> heading{
      fmt::format("hash of {} entries, touched since emptied", count(kMaxEntries))};
  std::vector<std::string> whole{"emptying it, ns"};
  for (const uint32_t touched : kTouched) {
    heading.push_back(count(touched));
    whole.push_back(fmt::format("{:.0f}", clear_time(**map, epochs, touched)));
  }
  Table table(heading);
  table.add(std::move(whole));
  fmt::print("\n");
  table.print(as_markdown);
}

}  // namespace

void measure_growth(bool as_markdown) {
  std::vector<std::unique_ptr<Size>> sizes;
  std::vector<std::string> notes;
  for (const uint32_t entries : kEntryCounts) {
    const uint64_t needed = entries * kBytesPerEntry + kSpare;
    if (available_memory() < needed) {
      notes.push_back(fmt::format("Not at {} entries: that takes up to {} MiB, and {} are available.",
                                  count(entries), needed >> 20, available_memory() >> 20));
      continue;
    }
    sizes.push_back(std::make_unique<Size>(entries));
    register_size(*sizes.back());
    const OperationRow& row = growth_rows().front();
    if (sizes.size() == 1 && !sizes.front()->kernel.has(row))
      notes.push_back(fmt::format("Not in the kernel: {}", sizes.front()->kernel.refusal(row)));
  }
  std::vector<std::unique_ptr<ManyCpus>> machines;
  for (const unsigned cpus : kCpuCounts) {
    machines.push_back(std::make_unique<ManyCpus>(cpus));
    for (const OperationRow& row : growth_rows()) machines.back()->register_benchmark(row, row.program);
    machines.back()->register_benchmark(growth_rows().front(), growth_rows().front().loop);
  }
  Timings timings;
  benchmark::RunSpecifiedBenchmarks(&timings);
  print_sizes(sizes, timings, as_markdown);
  print_cpus(timings, as_markdown);
  print_memory(sizes, as_markdown);
  print_clearing(as_markdown);
  for (const std::string& note : notes) fmt::print("\n{}\n", note);
}

}  // namespace skep::bench
