#include <fmt/format.h>

#include <exception>

#include "tools/command.hpp"

int main(int argc, char** argv) try {
  CLI::App app("Runs, lists and disassembles eBPF programs in user space.", "skep");
  app.set_version_flag("--version", SKEP_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 done; 1 the program was refused or faulted; 2 bad usage or bad input.\n"
      "`skep SUBCOMMAND --help` says more.");
  int status = skep::tools::kDone;
  skep::tools::add_run_command(app, status);
  skep::tools::add_disasm_command(app, status);
  skep::tools::add_list_command(app, status);
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
