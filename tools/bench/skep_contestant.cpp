#include "tools/bench/skep_contestant.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "tools/bench/clock.hpp"

namespace skep::tools {
namespace {

constexpr unsigned kCpu = 0;
constexpr size_t kCompilations = 9;  // of which the median counts

RunInput input_of(const Packet& packet, bool want_output) {
  RunInput input;
  input.data = std::as_bytes(std::span(packet.bytes));
  input.want_output = want_output;
  return input;
}

Result<RunResult> run(const Program& program, const RunInput& input) {
  auto result = program.run(kCpu, input);
  if (result && result->fault) return fail(ECANCELED, result->fault->message);
  return result;
}

}  // namespace

Result<std::unique_ptr<SkepContestant>> SkepContestant::load(const ObjectArguments& arguments,
                                                             const MachineOptions& options) {
  auto machine = Machine::create(options);
  if (!machine) return std::unexpected(machine.error());
  auto object = machine->open(arguments.path, arguments.options());
  if (!object) return std::unexpected(object.error());
  if (auto loaded = object->load(); !loaded) return std::unexpected(loaded.error());
  auto program = object->program(arguments.program);
  if (!program) return std::unexpected(program.error());
  const char* name = options.engine == Engine::kJit ? "jit" : "interp";
  return std::unique_ptr<SkepContestant>(new SkepContestant(name, std::move(*machine), std::move(*program)));
}

EngineFacts SkepContestant::facts() const {
  std::array<Compilation, kCompilations> made;
  for (Compilation& one : made) one = program_.compile();
  std::ranges::sort(made, {}, &Compilation::nanoseconds);
  const Compilation& median = made[kCompilations / 2];
  EngineFacts facts;
  if (median.code_bytes == 0) return facts;
  facts.compile_nanoseconds = median.nanoseconds;
  facts.code_bytes = median.code_bytes;
  return facts;
}

Result<Observation> SkepContestant::observe(const Packet& input) {
  auto result = run(program_, input_of(input, true));
  if (!result) return std::unexpected(result.error());
  return Observation{result->return_value, std::move(result->data)};
}

Result<double> SkepContestant::time(std::span<const Packet> inputs, uint64_t passes) {
  auto runner = program_.runner(kCpu);
  if (!runner) return std::unexpected(runner.error());
  const uint64_t start = thread_nanoseconds();
  for (uint64_t pass = 0; pass < passes; ++pass)
    for (const Packet& input : inputs) {
      const auto outcome = runner->run(input_of(input, false));
      if (!outcome) return std::unexpected(outcome.error());
      if (!outcome->faulted) continue;
      const auto fault = runner->fault();
      return fail(ECANCELED, fault ? fault->message : "the program faulted");
    }
  return static_cast<double>(thread_nanoseconds() - start);
}

}  // namespace skep::tools
