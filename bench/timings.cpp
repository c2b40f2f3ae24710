#include "bench/timings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>

namespace skep::bench {

bool Timings::ReportContext(const Context& context) {
  PrintBasicContext(&std::cerr, context);
  return true;
}

void Timings::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration || run.error_occurred) continue;
    // The kernel's time is a manual one, which stands in the place of the real time.
    const bool manual = run.run_name.time_type == "manual_time";
    // It is divided by the number of threads, as the CPU time is not.
    const double time =
        manual ? run.GetAdjustedRealTime() * static_cast<double>(run.threads) : run.GetAdjustedCPUTime();
    nanoseconds_[run.run_name.function_name].push_back(time * 1e9 /
                                                       benchmark::GetTimeUnitMultiplier(run.time_unit));
  }
}

std::optional<Timing> Timings::find(const std::string& name) const {
  const auto found = nanoseconds_.find(name);
  if (found == nanoseconds_.end()) return std::nullopt;
  std::vector<double> sorted = found->second;
  std::ranges::sort(sorted);
  const size_t last = sorted.size() - 1;
  return Timing{.median = (sorted[last / 2] + sorted[(last + 1) / 2]) / 2,
                .lower = sorted[last / 4],
                .upper = sorted[last - last / 4]};
}

std::string with_spread(double value, const Timing& timing) {
  return fmt::format("{:.2f} ±{:.0f}%", value, 100 * timing.spread());
}

void initialize(int argc, char** argv) {
  std::vector<std::string> text = {"--benchmark_enable_random_interleaving=true",
                                   "--benchmark_repetitions=11", "--benchmark_min_time=0.01"};
  text.insert(text.end(), argv + 1, argv + argc);
  std::vector<char*> arguments = {argv[0]};
  for (std::string& argument : text) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  int count = static_cast<int>(text.size()) + 1;
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) std::exit(2);
}

double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

}  // namespace skep::bench
