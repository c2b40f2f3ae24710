#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tools/bench/contestant.hpp"
#include "tools/bench/results.hpp"

namespace skep::tools {

// A program in every engine that can run it, and what it runs on.
struct Contest {
  ProgramResult result;  // filled as the contest goes on
  std::vector<Packet> inputs;
  std::vector<std::unique_ptr<Contestant>> contestants;
};

// Runs every input once in every engine. Takes out the inputs that skep and the kernel refuse for the
// program's type. Fails with EILSEQ: engines differ in a return value or in the memory after a run (the
// message says which and how); ECANCELED: a fault; EINVAL: no input is left.
Result<void> hold_against_each_other(Contest& contest);

struct MeasureOptions {
  unsigned rounds = 15;
  double min_seconds = 0.02;  // of each engine and program in each round
};

// Fills the results of the contests: in each round every engine of every program has its turn, each round
// beginning with another one. `progress` is called before each round with its number, from 0.
Result<void> measure(std::span<Contest> contests, const MeasureOptions& options,
                     const std::function<void(unsigned)>& progress, Spread& calibration);

// The pairs of a program's engines of which the rounds do not say which one is faster.
std::vector<Doubt> doubts_of(const ProgramResult& program);

}  // namespace skep::tools
