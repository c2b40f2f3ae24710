#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "tools/bench/chart.hpp"
#include "tools/bench/output.hpp"

// The results as one HTML page that needs nothing else: no scripts, no network.
namespace skep::tools {
namespace {

constexpr std::string_view kStyle = R"(
:root { --text: #1c2430; --weak: #5d6878; --line: #d9dee6; --ground: #fff; --shade: #f5f7fa;
  --interp: #d98a29; --jit: #2f6fde; --kernel: #7b8494; --native: #2c9a63; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --weak: #9aa5b4; --line: #38414e; --ground: #161b22;
  --shade: #1f2630; --interp: #e2a04c; --jit: #5b94f5; --kernel: #8e98a8; --native: #4bb780; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground);
  max-width: 960px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; }
h2 { font-size: 1.15em; margin-top: 2.2em; }
p, dl { color: var(--weak); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1em; font-size: 0.9em; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
.warning { color: var(--text); background: var(--shade); border-left: 4px solid var(--interp); padding: 0.5em 1em; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); dominant-baseline: central; }
svg .title { font-weight: 600; font-size: 13px; }
svg .name { text-anchor: end; fill: var(--weak); }
svg .tick { text-anchor: middle; fill: var(--weak); font-size: 11px; }
svg .grid { stroke: var(--line); }
svg .spread { stroke: var(--text); fill: none; stroke-width: 1.5; }
svg .interp { fill: var(--interp); } svg .jit { fill: var(--jit); }
svg .kernel { fill: var(--kernel); } svg .native { fill: var(--native); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9em; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.25em 0.7em; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
)";

std::string duration(uint64_t nanoseconds) { return duration_text(static_cast<double>(nanoseconds)); }

std::string ratio_to_baseline(const ProgramResult& program, const EngineResult& engine) {
  const double base = program.baseline().nanoseconds.median;
  return base > 0 ? ratio_text(engine.nanoseconds.median / base) : "-";
}

double per_instruction(const ProgramResult& program, double nanoseconds) {
  return nanoseconds / static_cast<double>(program.instructions);
}

std::string title(const ProgramResult& program) {
  return fmt::format("{} · {} · {} instructions", program.name, program.type, program.instructions);
}

// One bar for each engine that `bar` has something to say of.
template <class MakeBar>
std::vector<BarGroup> groups(const BenchResult& result, const MakeBar& bar) {
  std::vector<BarGroup> out;
  for (const ProgramResult& program : result.programs) {
    BarGroup group{title(program), {}};
    for (const EngineResult& engine : program.engines)
      if (Bar made = bar(program, engine); made.value > 0) group.bars.push_back(std::move(made));
    if (!group.bars.empty()) out.push_back(std::move(group));
  }
  return out;
}

std::string section(const char* heading, const char* text, const std::vector<BarGroup>& groups,
                    std::string (*tick)(double)) {
  if (groups.empty()) return {};
  return fmt::format("<h2>{}</h2>\n<p>{}</p>\n{}", heading, text, log_chart(groups, tick));
}

std::string bytes_text(double bytes) {
  return bytes < 1000 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.3g} kB", bytes / 1000);
}

std::string time_section(const BenchResult& result) {
  return section(
      "Time of a run",
      "The median of the rounds, with lines from the fastest round to the slowest. The axis is "
      "logarithmic: shorter is faster.",
      groups(result,
             [](const ProgramResult& program, const EngineResult& engine) {
               const Spread& ns = engine.nanoseconds;
               return Bar{
                   engine.engine,
                   engine.engine,
                   ns.median,
                   ns.min,
                   ns.max,
                   fmt::format("{} · {}", duration_text(ns.median), ratio_to_baseline(program, engine))};
             }),
      duration_text);
}

std::string instruction_section(const BenchResult& result) {
  return section("Time of an instruction",
                 "The time of a run by the number of instructions that the program has. Those of a loop are "
                 "executed more than once, others perhaps never.",
                 groups(result,
                        [](const ProgramResult& program, const EngineResult& engine) {
                          const Spread& ns = engine.nanoseconds;
                          const double median = per_instruction(program, ns.median);
                          return Bar{engine.engine,
                                     engine.engine,
                                     median,
                                     per_instruction(program, ns.min),
                                     per_instruction(program, ns.max),
                                     duration_text(median)};
                        }),
                 duration_text);
}

std::string plain_section(const BenchResult& result, const char* heading, const char* text,
                          std::optional<uint64_t> EngineResult::* value, std::string (*show)(double)) {
  return section(heading, text,
                 groups(result,
                        [&](const ProgramResult&, const EngineResult& engine) {
                          const auto number = static_cast<double>((engine.*value).value_or(0));
                          return Bar{engine.engine, engine.engine, number, number, number, show(number)};
                        }),
                 show);
}

std::string row(const ProgramResult& program, const EngineResult& engine) {
  const Spread& ns = engine.nanoseconds;
  const std::array cells{escaped(program.name),
                         engine.engine,
                         duration_text(ns.median),
                         duration_text(ns.min),
                         duration_text(ns.max),
                         ratio_to_baseline(program, engine) + " " + program.baseline().engine,
                         duration_text(per_instruction(program, ns.median)),
                         engine.code_bytes ? fmt::format("{}", *engine.code_bytes) : "-",
                         engine.compile_nanoseconds ? duration(*engine.compile_nanoseconds) : "-"};
  std::string out = "<tr>";
  for (const std::string& cell : cells) out += "<td>" + cell + "</td>";
  return out + "</tr>\n";
}

std::string table(const BenchResult& result) {
  std::string out =
      "<h2>Numbers</h2>\n<div class=\"scroll\"><table>\n<tr><th>program</th><th>engine</th><th>a "
      "run</th><th>min</th>"
      "<th>max</th><th>ratio</th><th>per instruction</th><th>code bytes</th><th>compiling</th></tr>\n";
  for (const ProgramResult& program : result.programs)
    for (const EngineResult& engine : program.engines) out += row(program, engine);
  return out + "</table></div>\n";
}

std::vector<std::string> warnings(const BenchResult& result) {
  std::vector<std::string> out = result.notes;
  for (const ProgramResult& program : result.programs) {
    for (const Absence& absence : program.absences)
      out.push_back(fmt::format("{}: not timed in {}: {}", program.name, absence.engine, absence.reason));
    for (const Doubt& doubt : program.doubts)
      out.push_back(fmt::format("{}: {} and {} cannot be told apart: {}", program.name, doubt.one,
                                doubt.other, doubt.reason));
  }
  return out;
}

constexpr const char* kWhatIsTimed =
    "interp and jit: a fresh copy of the packet or memory put in place, and the program; native: a fresh "
    "copy "
    "and the function; kernel: the program alone, as BPF_PROG_TEST_RUN says";

std::string facts(const BenchResult& result) {
  const std::pair<const char*, std::string> rows[] = {
      {"command", result.command_line},
      {"date", result.date},
      {"machine", fmt::format("{}, {} online", result.host.cpu, result.host.cpus)},
      {"kernel", result.host.kernel},
      {"skep", fmt::format("{}, {}", result.host.skep, result.host.compiler)},
      {"a run", kWhatIsTimed},
      {"measured",
       fmt::format("{} mode, {} rounds of {} ms for each engine; a fixed loop took up to {:.0f}% more "
                   "than at its fastest",
                   result.mode, result.rounds, 1000 * result.min_seconds,
                   100 * relative_spread(result.calibration))}};
  std::string out = "<dl>\n";
  for (const auto& [name, value] : rows) out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, escaped(value));
  return out + "</dl>\n";
}

}  // namespace

std::string bench_as_html(const BenchResult& result) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>skep bench: {0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
      escaped(result.object), kStyle);
  out += fmt::format("<p>{} {} in each engine that can run {}.</p>\n", result.programs.size(),
                     result.programs.size() == 1 ? "program" : "programs",
                     result.programs.size() == 1 ? "it" : "them");
  for (const std::string& warning : warnings(result))
    out += fmt::format("<p class=\"warning\">{}</p>\n", escaped(warning));
  out += time_section(result);
  out += table(result);
  out += instruction_section(result);
  out += plain_section(result, "Machine code", "Bytes of the program's machine code.",
                       &EngineResult::code_bytes, bytes_text);
  out += plain_section(result, "Compiling", "The time from the program's instructions to its machine code.",
                       &EngineResult::compile_nanoseconds, duration_text);
  out += "<h2>How it was measured</h2>\n" + facts(result);
  return out + "</body>\n</html>\n";
}

}  // namespace skep::tools
