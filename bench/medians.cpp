#include "bench/medians.hpp"

#include <cmath>
#include <cstdlib>
#include <iostream>

namespace skep::bench {

bool Medians::ReportContext(const Context& context) {
  PrintBasicContext(&std::cerr, context);
  return true;
}

void Medians::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.aggregate_name != "median" || run.error_occurred) continue;
    // The kernel's time is a manual one, which stands in the place of the real time.
    const bool manual = run.run_name.time_type == "manual_time";
    const double time = manual ? run.GetAdjustedRealTime() : run.GetAdjustedCPUTime();
    nanoseconds_[run.run_name.function_name] = time * 1e9 / benchmark::GetTimeUnitMultiplier(run.time_unit);
  }
}

std::optional<double> Medians::find(const std::string& name) const {
  const auto found = nanoseconds_.find(name);
  return found == nanoseconds_.end() ? std::nullopt : std::optional(found->second);
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
