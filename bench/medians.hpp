#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace skep::bench {

// Keeps the medians, in nanoseconds by benchmark's name, for a table to be made of. What else Google
// Benchmark has to say goes to its --benchmark_out file.
class Medians final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

  std::optional<double> find(const std::string& name) const;

 private:
  std::map<std::string, double> nanoseconds_;
};

// Google Benchmark's own arguments, with repetitions in random order unless `arguments` say otherwise.
void initialize(int argc, char** argv);

double geometric_mean(const std::vector<double>& values);

}  // namespace skep::bench
