#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/host.hpp"

namespace skep::tools {

// The middle of several measurements, and how far they lie apart.
struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
};
Spread spread_of(std::vector<double> values);

struct EngineResult {
  std::string engine;
  Spread nanoseconds;          // of a run
  std::vector<double> rounds;  // a run's nanoseconds in each round
  double resolution = 0;       // of its clock, in nanoseconds of a run
  std::optional<uint64_t> compile_nanoseconds;
  std::optional<uint64_t> code_bytes;
};

// An engine that a program was not timed in, and why.
struct Absence {
  std::string engine;
  std::string reason;
};

// Two engines whose times do not say which is faster.
struct Doubt {
  std::string one;
  std::string other;
  std::string reason;
};

struct ProgramResult {
  std::string name;
  std::string type;
  size_t instructions = 0;
  size_t inputs = 0;       // packets of a pass
  size_t input_bytes = 0;  // of all of them
  size_t not_run = 0;      // packets that are none for this type of program
  std::vector<EngineResult> engines;
  std::vector<Absence> absences;
  std::vector<Doubt> doubts;

  const EngineResult* find(const std::string& engine) const;
  // What the others are held against: native code, else the kernel, else the fastest.
  const EngineResult& baseline() const;
};

struct BenchResult {
  std::string object;
  std::string mode;
  std::string command_line;
  std::string date;  // UTC, ISO 8601
  Host host;
  unsigned rounds = 0;
  double min_seconds = 0;
  bool packets = false;  // the runs are on packets
  Spread calibration;    // of a fixed loop of arithmetic, in nanoseconds
  bool noisy = false;    // the loop says that the host is
  std::vector<ProgramResult> programs;
  std::vector<std::string> notes;  // sentences about the whole
};

// How far the slowest lies over the fastest: 0.1 is a tenth.
double relative_spread(const Spread& spread);
// Numbers as a reader wants them: three digits that count, with their unit.
std::string duration_text(double nanoseconds);
std::string ratio_text(double ratio);

}  // namespace skep::tools
