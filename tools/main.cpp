#include <fmt/format.h>

#include <exception>
#include <span>
#include <string_view>

#include "tools/command.hpp"

namespace {

// The command as a shell would take it again.
std::string command_line(std::span<char*> arguments) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./,:@%";
  std::string out = "skep";
  for (const std::string_view argument : arguments) {
    const bool plain = !argument.empty() && argument.find_first_not_of(kPlain) == std::string_view::npos;
    out += plain ? fmt::format(" {}", argument) : " '";
    if (plain) continue;
    for (const char c : argument) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("Runs, times, lists and disassembles eBPF programs in user space.", "skep");
  app.set_version_flag("--version", SKEP_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 done; 1 the program was refused or faulted; 2 bad usage or bad input.\n"
      "`skep SUBCOMMAND --help` says more.");
  int status = skep::tools::kDone;
  skep::tools::add_run_command(app, status);
  skep::tools::add_disasm_command(app, status);
  skep::tools::add_list_command(app, status);
  skep::tools::add_bench_command(app, command_line(std::span(argv, static_cast<size_t>(argc)).subspan(1)),
                                 status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    skep::tools::report_error(std::string(error.what()) + " (see skep --help)");
    return skep::tools::kBadInput;
  }
  return status;
} catch (const std::exception& error) {
  skep::tools::report_error(error.what());
  return skep::tools::kBadInput;
}
