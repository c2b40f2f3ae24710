#pragma once

#include <string>
#include <vector>

namespace skep::test {

// How a command ended.
struct CommandResult {
  int status = -1;  // its exit status; 128 + n when signal n ended it
  std::string out;
  std::string err;
};

// Runs a program with arguments, without a shell, with its standard streams in pipes.
CommandResult run_command(const std::vector<std::string>& command, const std::string& input = {});

// The commands of this build.
CommandResult skep(std::vector<std::string> arguments);
CommandResult conformance(std::vector<std::string> arguments, const std::string& input = {});

// A file in a directory of the test's own, gone when the test process ends.
std::string write_file(const std::string& name, const std::string& bytes);
std::string scratch_path(const std::string& name);
std::string read_text(const std::string& path);

// A BPF object of the build.
std::string object(const std::string& name);
std::string sample_traffic();

}  // namespace skep::test
