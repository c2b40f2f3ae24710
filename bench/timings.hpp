#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace skep::bench {

// The repetitions of a benchmark, in nanoseconds: their middle, and the quarter points around it.
struct Timing {
  double median = 0;
  double lower = 0;
  double upper = 0;
  // Half of the range that the middle half of the repetitions lies in, as a part of the median.
  double spread() const { return (upper - lower) / 2 / median; }
};

// Keeps the timings by benchmark's name, for a table to be made of. What else Google Benchmark has to say
// goes to its --benchmark_out file.
class Timings final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

  std::optional<Timing> find(const std::string& name) const;

 private:
  std::map<std::string, std::vector<double>> nanoseconds_;
};

// Google Benchmark's own arguments, with repetitions in random order unless `arguments` say otherwise.
void initialize(int argc, char** argv);

// "1.25 ±2%": a value, and how far the timing it was made from spreads.
std::string with_spread(double value, const Timing& timing);

double geometric_mean(const std::vector<double>& values);

}  // namespace skep::bench
