// What do operations on maps cost inside programs, on one CPU and on two at once; in the kernel, and in
// well-known containers? With --growth: how does it grow with entries and CPUs, and what memory do entries
// take?
//
//   bench_maps [--entries=1024|65536|1048576|16777216] [--cpus=N] [--markdown] [Google Benchmark's options]
//   bench_maps --growth [--markdown] [Google Benchmark's options]

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/lanes.hpp"
#include "bench/map_growth.hpp"
#include "bench/measure.hpp"
#include "bench/table.hpp"
#include "bench/timings.hpp"

namespace skep::bench {
namespace {

constexpr int kThreads[] = {1, 2};

struct Setting {
  uint32_t entries = 65536;
  unsigned cpus = 2;
};

// What an anchor does for a row.
struct AnchorRow {
  std::string_view program;
  AnchorOperation operation;
};
constexpr AnchorRow kAnchorRows[] = {
    {"lookup", AnchorOperation::kLookup},
    {"replace", AnchorOperation::kReplace},
    {"reinsert", AnchorOperation::kReinsert},
    {"queue_push_pop", AnchorOperation::kPushPop},
};

// Everything that is measured, and the table of it.
class Comparison {
 public:
  explicit Comparison(const Setting& setting)
      : setting_(setting),
        skep_(setting.entries, setting.cpus),
        kernel_(setting.entries, operation_rows()),
        loop_(make_loop_anchor(setting.entries)),
        anchors_(make_anchors(setting.entries)) {
    for (const int threads : kThreads)
      if (has_processors(threads) && static_cast<unsigned>(threads) <= setting.cpus)
        threads_.push_back(threads);
  }

  void register_benchmarks() {
    std::set<std::string_view> registered;
    for (const OperationRow& row : operation_rows()) {
      register_program(row, row.program);
      if (row.loop != nullptr && registered.insert(row.loop).second) register_program(row, row.loop);
    }
    for (const int threads : threads_) {
      register_anchor(*loop_, AnchorOperation::kLoop, setting_.entries, threads);
      for (const auto& anchor : anchors_)
        for (const AnchorRow& row : kAnchorRows)
          if (anchor->has(row.operation)) register_anchor(*anchor, row.operation, setting_.entries, threads);
    }
  }

  void print(const Timings& timings, bool as_markdown) {
    std::vector<std::string> heading{fmt::format("ns, {} entries, {} CPUs", setting_.entries, setting_.cpus),
                                     "skep", "kernel", "skep : kernel"};
    for (const auto& anchor : anchors_) heading.emplace_back(anchor->name());
    Table table(heading);
    for (const OperationRow& row : operation_rows()) table.add(cells(timings, row));
    table.print(as_markdown);
    if (!spreads_.empty())
      fmt::print(
          "\nHalf of the range that the middle half of the repetitions lies in: {:.0f}% of the time in the "
          "middle of all rows, {:.0f}% at the most.\n",
          100 * middle(spreads_), 100 * std::ranges::max(spreads_));
    print_refusals();
  }

 private:
  void register_program(const OperationRow& row, const char* program) {
    if (skep_.has(row)) {
      skep_.fill(row);
      for (const int threads : threads_) register_skep(skep_, row, program, setting_.entries, threads);
    }
    if (kernel_.has(row)) {
      kernel_.fill(row);
      for (const int threads : threads_) register_kernel(kernel_, row, program, setting_.entries, threads);
    }
  }

  // The time of `name` less that of `loop`.
  std::optional<double> net(const Timings& timings, const std::string& name, const std::string& loop) {
    const auto time = timings.find(name);
    if (!time) return std::nullopt;
    spreads_.push_back(time->spread());
    if (loop.empty()) return time->median;
    const auto off = timings.find(loop);
    if (!off) return std::nullopt;
    return time->median - off->median;
  }

  // One number for each number of threads.
  template <class Number>
  std::string cell(const Number& number) const {
    std::string out;
    for (const int threads : threads_) {
      const std::optional<double> value = number(threads);
      out += fmt::format("{}{}", out.empty() ? "" : " / ", value ? fmt::format("{:.2f}", *value) : "-");
    }
    return out;
  }

  std::vector<std::string> cells(const Timings& timings, const OperationRow& row) {
    const auto skep = [&](int threads) {
      return net(timings, skep_name(row.program, setting_.entries, threads),
                 row.loop == nullptr ? "" : skep_name(row.loop, setting_.entries, threads));
    };
    const auto kernel = [&](int threads) {
      return net(timings, kernel_name(row.program, setting_.entries, threads),
                 row.loop == nullptr ? "" : kernel_name(row.loop, setting_.entries, threads));
    };
    const auto ratio = [&](int threads) -> std::optional<double> {
      const auto here = skep(threads);
      const auto there = kernel(threads);
      if (!here || !there || *there <= 0) return std::nullopt;
      return *here / *there;
    };
    std::vector<std::string> out{row.label, cell(skep), cell(kernel), cell(ratio)};
    const auto* same = std::ranges::find(kAnchorRows, std::string_view(row.program), &AnchorRow::program);
    for (const auto& anchor : anchors_) {
      if (same == std::end(kAnchorRows) || !anchor->has(same->operation)) {
        out.emplace_back();
        continue;
      }
      out.push_back(cell([&](int threads) {
        return net(timings, anchor_name(*anchor, same->operation, threads),
                   anchor_name(*loop_, AnchorOperation::kLoop, threads));
      }));
    }
    return out;
  }

  static double middle(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
  }

  void print_refusals() const {
    std::set<std::string> said;
    const auto say = [&](const char* where, const OperationRow& row, const std::string& why) {
      const std::string line = fmt::format("Not in {}: {}.bpf.o: {}", where, object_of(row), why);
      if (said.insert(line).second) fmt::print("\n{}\n", line);
    };
    for (const OperationRow& row : operation_rows()) {
      if (!skep_.has(row)) say("skep", row, skep_.refusal(row));
      if (!kernel_.has(row)) say("the kernel", row, kernel_.refusal(row));
    }
    if (threads_.size() < std::size(kThreads))
      fmt::print("\nOn one thread only: there are no two CPUs to run on at once.\n");
  }

  Setting setting_;
  MapWorld skep_;
  KernelWorld kernel_;
  std::unique_ptr<Anchor> loop_;
  std::vector<std::unique_ptr<Anchor>> anchors_;
  std::vector<int> threads_;
  std::vector<double> spreads_;
};

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
  const bool growth = take_flag(argc, argv, "--growth");
  Setting setting;
  setting.entries = take_number(argc, argv, "--entries=", setting.entries);
  setting.cpus = take_number(argc, argv, "--cpus=", setting.cpus);
  if (std::ranges::find(kEntryCounts, setting.entries) == std::end(kEntryCounts))
    throw std::runtime_error(fmt::format("--entries={}: there are no programs for so many", setting.entries));
  initialize(argc, argv);
  if (growth) {
    measure_growth(as_markdown);
    return 0;
  }
  Comparison comparison(setting);
  comparison.register_benchmarks();
  Timings timings;
  benchmark::RunSpecifiedBenchmarks(&timings);
  comparison.print(timings, as_markdown);
  return 0;
}

}  // namespace skep::bench
