#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "skep/machine.hpp"

// What the subcommands of `skep` share.
namespace skep::tools {

// Exit statuses, the same for every subcommand.
inline constexpr int kDone = 0;
inline constexpr int kRefusedOrFaulted = 1;
inline constexpr int kBadInput = 2;

// A subcommand adds its options to the application and runs when chosen; the result is the exit status.
void add_run_command(CLI::App& app, int& status);
void add_disasm_command(CLI::App& app, int& status);
void add_list_command(CLI::App& app, int& status);
// `command_line` is what a report says that it was made with.
void add_bench_command(CLI::App& app, const std::string& command_line, int& status);

// One line on stderr, after "skep: ".
void report_error(const std::string& message);

// The options by which every subcommand names an object and one of its programs.
struct ObjectArguments {
  std::string path;
  std::string program;
  std::string type;
  std::string kernel_btf;

  void add_to(CLI::App& command, bool with_program);
  ObjectOptions options() const;
};

// --harden, --perf-map and --gdb-jit, for subcommands that run programs.
void add_jit_options(CLI::App& command, MachineOptions& machine);

// The program to work on: the one named, or the only one. The error lists the choices.
Result<std::string> choose_program(const Object& object, const ObjectArguments& arguments);

}  // namespace skep::tools
