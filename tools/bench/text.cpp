#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/bench/output.hpp"

namespace skep::tools {
namespace {

std::string heading(const BenchResult& result, const ProgramResult& program) {
  std::string out = fmt::format("program {} (type {}, {} instructions), mode {}", program.name, program.type,
                                program.instructions, result.mode);
  if (program.inputs > 1)
    out += fmt::format(", {} packets, {} bytes each on average", program.inputs,
                       program.input_bytes / program.inputs);
  else
    out += fmt::format(", {} bytes", program.input_bytes);
  if (program.not_run != 0) out += fmt::format(", {} packets not run", program.not_run);
  return out + "\n";
}

template <class Value>
std::string or_dash(const std::optional<Value>& value, std::string (*text)(Value)) {
  return value ? text(*value) : "-";
}

std::string nanoseconds_text(uint64_t value) { return duration_text(static_cast<double>(value)); }
std::string plain_count(uint64_t value) { return fmt::format("{}", value); }

std::string rows(const ProgramResult& program) {
  const EngineResult& base = program.baseline();
  std::string out = fmt::format("  {:<8}{:>12}{:>12}{:>12}{:>10}{:>12}{:>12}\n", "engine", "a run", "min",
                                "max", "/ " + base.engine, "code bytes", "compiling");
  for (const EngineResult& engine : program.engines) {
    const Spread& ns = engine.nanoseconds;
    const bool compares = base.nanoseconds.median > 0;
    out += fmt::format("  {:<8}{:>12}{:>12}{:>12}{:>10}{:>12}{:>12}\n", engine.engine,
                       duration_text(ns.median), duration_text(ns.min), duration_text(ns.max),
                       compares ? ratio_text(ns.median / base.nanoseconds.median) : "-",
                       or_dash(engine.code_bytes, plain_count),
                       or_dash(engine.compile_nanoseconds, nanoseconds_text));
  }
  for (const Doubt& doubt : program.doubts)
    out += fmt::format("  {} and {} cannot be told apart: {}\n", doubt.one, doubt.other, doubt.reason);
  return out;
}

nlohmann::ordered_json as_json(const EngineResult& engine) {
  nlohmann::ordered_json out{{"engine", engine.engine},       {"ns_per_run", engine.nanoseconds.median},
                             {"min", engine.nanoseconds.min}, {"max", engine.nanoseconds.max},
                             {"compile_ns", nullptr},         {"code_bytes", nullptr}};
  if (engine.compile_nanoseconds) out["compile_ns"] = *engine.compile_nanoseconds;
  if (engine.code_bytes) out["code_bytes"] = *engine.code_bytes;
  return out;
}

nlohmann::ordered_json as_json(const ProgramResult& program) {
  nlohmann::ordered_json out{{"program", program.name},
                             {"type", program.type},
                             {"insns", program.instructions},
                             {"inputs", program.inputs},
                             {"input_bytes", program.input_bytes},
                             {"not_run", program.not_run}};
  out["engines"] = nlohmann::ordered_json::array();
  for (const EngineResult& engine : program.engines) out["engines"].push_back(as_json(engine));
  out["not_timed"] = nlohmann::ordered_json::array();
  for (const Absence& absence : program.absences)
    out["not_timed"].push_back({{"engine", absence.engine}, {"reason", absence.reason}});
  out["cannot_tell"] = nlohmann::ordered_json::array();
  for (const Doubt& doubt : program.doubts)
    out["cannot_tell"].push_back({{"engines", {doubt.one, doubt.other}}, {"reason", doubt.reason}});
  return out;
}

}  // namespace

std::string bench_as_text(const BenchResult& result) {
  std::string out;
  for (const ProgramResult& program : result.programs)
    out += (out.empty() ? "" : "\n") + heading(result, program) + rows(program);
  for (const std::string& note : result.notes) out += fmt::format("note: {}\n", note);
  return out;
}

std::string bench_as_json(const BenchResult& result) {
  nlohmann::ordered_json out{{"object", result.object},
                             {"mode", result.mode},
                             {"date", result.date},
                             {"command", result.command_line},
                             {"cpu", result.host.cpu},
                             {"cpus", result.host.cpus},
                             {"kernel", result.host.kernel},
                             {"skep", result.host.skep},
                             {"compiler", result.host.compiler},
                             {"rounds", result.rounds},
                             {"noisy", result.noisy},
                             {"calibration_spread", relative_spread(result.calibration)},
                             {"notes", result.notes}};
  out["programs"] = nlohmann::ordered_json::array();
  for (const ProgramResult& program : result.programs) out["programs"].push_back(as_json(program));
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace skep::tools
