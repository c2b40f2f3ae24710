// The plugin that the bpf_conformance runner drives: executes a program given in hexadecimal and prints r0.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <iterator>
#include <map>

#include "skep/machine.hpp"
#include "tools/choice.hpp"
#include "tools/run_input.hpp"

namespace {

int report(const std::string& message, int status) {
  fmt::print(stderr, "skep-conformance: {}\n", message);
  return status;
}

struct Arguments {
  std::string memory;
  std::string program;
  skep::MachineOptions machine;
};

int run(const Arguments& arguments) {
  auto memory = skep::tools::parse_hex(arguments.memory);
  if (!memory) return report("memory: " + memory.error().message, 2);
  const auto program_bytes = skep::tools::parse_hex(arguments.program);
  if (!program_bytes) return report("program: " + program_bytes.error().message, 2);
  const auto machine = skep::Machine::create(arguments.machine);
  if (!machine) return report(machine.error().message, 2);
  const auto object = machine->open(std::as_bytes(std::span(*program_bytes)), {.name = "program"});
  if (!object) return report(object.error().message, 2);
  if (auto loaded = object->load(); !loaded) return report(loaded.error().message, 1);
  const auto program = object->program("main");
  if (!program) return report(program.error().message, 1);
  const auto result = program->run_in_place(0, std::as_writable_bytes(std::span(*memory)));
  if (!result) return report(result.error().message, 2);
  if (result->fault) return report(result->fault->message, 1);
  fmt::print("{:x}\n", result->return_value);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  using skep::Engine;
  Arguments arguments;
  bool jit = false;
  bool interpret = false;
  CLI::App app("Executes BPF instructions given in hexadecimal and prints r0 in hexadecimal.",
               "skep-conformance");
  app.add_option("MEMORY", arguments.memory, "bytes that r1 points to and r2 counts, in hexadecimal");
  app.add_option("--program", arguments.program,
                 "the instructions, in hexadecimal; read from standard input if absent");
  skep::tools::choose_from(
      app.add_option("--engine", arguments.machine.engine, "jit (the default) or interp"),
      std::map<std::string, Engine>{{"jit", Engine::kJit}, {"interp", Engine::kInterpreter}});
  auto* jit_flag = app.add_flag("--jit", jit, "the same as --engine jit");
  app.add_flag("--interpret", interpret, "the same as --engine interp")->excludes(jit_flag);
  CLI11_PARSE(app, argc, argv);
  if (interpret) arguments.machine.engine = Engine::kInterpreter;
  if (arguments.program.empty())
    arguments.program.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  return run(arguments);
} catch (const std::exception& error) {
  return report(error.what(), 2);
}
