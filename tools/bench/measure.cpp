#include "tools/bench/measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>

#include "tools/bench/clock.hpp"

namespace skep::tools {
namespace {

constexpr uint64_t kCalibrationSteps = 2'000'000;
constexpr unsigned kFewRounds = 5;

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A fixed piece of work: each step waits for the one before.
double time_calibration_loop() {
  const uint64_t start = thread_nanoseconds();
  uint64_t value = start;
  for (uint64_t step = 0; step < kCalibrationSteps; ++step)
    value = value * 6364136223846793005 + 1442695040888963407;
  asm volatile("" : : "r"(value));
  return static_cast<double>(thread_nanoseconds() - start);
}

std::string input_name(const Contest& contest, size_t n) {
  return contest.inputs.size() == 1 ? "its input" : fmt::format("packet {}", n + 1);
}

std::string value_text(const Contest& contest, uint64_t value) {
  return contest.result.type == "raw" ? fmt::format("{:#x}", value) : fmt::format("{}", value);
}

// How two observations differ; empty: they do not.
std::string difference(const Contest& contest, const std::string& one, const Observation& a,
                       const std::string& other, const Observation& b) {
  if (a.return_value != b.return_value)
    return fmt::format("{} returns {}, {} returns {}", one, value_text(contest, a.return_value), other,
                       value_text(contest, b.return_value));
  if (a.memory.size() != b.memory.size())
    return fmt::format("{} leaves {} bytes, {} leaves {}", one, a.memory.size(), other, b.memory.size());
  const auto [at, at_other] = std::ranges::mismatch(a.memory, b.memory);
  if (at == a.memory.end()) return {};
  return fmt::format("byte {} is {:#04x} after {}, {:#04x} after {}", at - a.memory.begin(),
                     static_cast<unsigned>(*at), one, static_cast<unsigned>(*at_other), other);
}

// Whether the first engine takes the input; the others then have to.
Result<bool> compare_on(Contest& contest, size_t n) {
  std::optional<Observation> first;
  for (const auto& contestant : contest.contestants) {
    auto seen = contestant->observe(contest.inputs[n]);
    if (!seen && !first && seen.error().code == EINVAL) return false;
    if (!seen)
      return fail(seen.error().code,
                  fmt::format("program '{}': {} on {}: {}", contest.result.name, contestant->name(),
                              input_name(contest, n), seen.error().message));
    if (!first) {
      first = std::move(*seen);
      continue;
    }
    const std::string text =
        difference(contest, contest.contestants.front()->name(), *first, contestant->name(), *seen);
    if (!text.empty())
      return fail(EILSEQ, fmt::format("program '{}': the engines disagree on {}: {}; nothing was timed",
                                      contest.result.name, input_name(contest, n), text));
  }
  return true;
}

// How many passes take the time asked for. Warms code, caches and maps.
Result<uint64_t> calibrate(Contestant& contestant, std::span<const Packet> inputs, double seconds) {
  uint64_t passes = 1;
  for (;;) {
    const auto start = std::chrono::steady_clock::now();
    if (auto timed = contestant.time(inputs, passes); !timed) return std::unexpected(timed.error());
    const double took = std::max(since(start), 1e-7);
    const double wanted = std::ceil(static_cast<double>(passes) * seconds / took);
    if (took >= seconds / 4) return static_cast<uint64_t>(std::max(wanted, 1.0));
    passes = static_cast<uint64_t>(std::clamp(wanted, 2.0, static_cast<double>(passes) * 16));
  }
}

// A contestant in the rounds.
struct Entry {
  Contest* contest;
  size_t index;
  uint64_t passes;

  Contestant& contestant() const { return *contest->contestants[index]; }
  EngineResult& result() const { return contest->result.engines[index]; }
};

Result<std::vector<Entry>> enter(std::span<Contest> contests, const MeasureOptions& options) {
  std::vector<Entry> entries;
  for (Contest& contest : contests)
    for (size_t n = 0; n < contest.contestants.size(); ++n) {
      Contestant& contestant = *contest.contestants[n];
      const auto passes = calibrate(contestant, contest.inputs, options.min_seconds);
      if (!passes) return std::unexpected(passes.error());
      const EngineFacts facts = contestant.facts();
      contest.result.engines.push_back({.engine = contestant.name(),
                                        .nanoseconds = {},
                                        .rounds = {},
                                        .resolution = contestant.resolution(),
                                        .compile_nanoseconds = facts.compile_nanoseconds,
                                        .code_bytes = facts.code_bytes});
      entries.push_back({&contest, n, *passes});
    }
  return entries;
}

Result<void> take_turn(const Entry& entry) {
  const auto& inputs = entry.contest->inputs;
  const auto time = entry.contestant().time(inputs, entry.passes);
  if (!time) return std::unexpected(time.error());
  const double runs = static_cast<double>(entry.passes) * static_cast<double>(inputs.size());
  entry.result().rounds.push_back(*time / runs);
  return {};
}

Doubt doubt(const EngineResult& a, const EngineResult& b, std::string reason) {
  return {a.engine, b.engine, std::move(reason)};
}

std::optional<Doubt> doubt_between(const EngineResult& a, const EngineResult& b) {
  const double resolution = std::max(a.resolution, b.resolution);
  if (std::abs(a.nanoseconds.median - b.nanoseconds.median) < resolution)
    return doubt(a, b, "the kernel's clock shows whole nanoseconds of a run");
  const size_t rounds = a.rounds.size();
  if (rounds < kFewRounds) return std::nullopt;
  size_t a_faster = 0;
  size_t b_faster = 0;
  for (size_t n = 0; n < rounds; ++n) {
    a_faster += a.rounds[n] < b.rounds[n];
    b_faster += b.rounds[n] < a.rounds[n];
  }
  // The rounds are interleaved, so that noise meets both: one that is faster is so in nearly all of them.
  if (std::max(a_faster, b_faster) >= rounds - rounds / 10) return std::nullopt;
  return doubt(a, b,
               fmt::format("of {} rounds {} was faster in {}, {} in {}", rounds, a.engine, a_faster, b.engine,
                           b_faster));
}

}  // namespace

Result<void> hold_against_each_other(Contest& contest) {
  std::vector<Packet> taken;
  for (size_t n = 0; n < contest.inputs.size(); ++n) {
    auto compared = compare_on(contest, n);
    if (!compared) return std::unexpected(compared.error());
    if (*compared) taken.push_back(contest.inputs[n]);
  }
  ProgramResult& result = contest.result;
  result.not_run = contest.inputs.size() - taken.size();
  if (taken.empty())
    return fail(EINVAL, fmt::format("program '{}': the input has nothing that a program of type {} runs on",
                                    result.name, result.type));
  contest.inputs = std::move(taken);
  result.inputs = contest.inputs.size();
  for (const Packet& input : contest.inputs) result.input_bytes += input.bytes.size();
  return {};
}

Result<void> measure(std::span<Contest> contests, const MeasureOptions& options,
                     const std::function<void(unsigned)>& progress, Spread& calibration) {
  auto entries = enter(contests, options);
  if (!entries) return std::unexpected(entries.error());
  std::vector<double> loops;
  for (unsigned round = 0; round < options.rounds; ++round) {
    progress(round);
    loops.push_back(time_calibration_loop());
    for (size_t n = 0; n < entries->size(); ++n)
      if (auto timed = take_turn((*entries)[(round + n) % entries->size()]); !timed) return timed;
  }
  for (const Entry& entry : *entries) entry.result().nanoseconds = spread_of(entry.result().rounds);
  for (Contest& contest : contests) contest.result.doubts = doubts_of(contest.result);
  calibration = spread_of(loops);
  return {};
}

std::vector<Doubt> doubts_of(const ProgramResult& program) {
  std::vector<Doubt> out;
  for (size_t a = 0; a < program.engines.size(); ++a)
    for (size_t b = a + 1; b < program.engines.size(); ++b)
      if (auto found = doubt_between(program.engines[a], program.engines[b]))
        out.push_back(std::move(*found));
  return out;
}

}  // namespace skep::tools
