#include "tests/cli/command_runner.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace skep::test {
namespace {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "skep-test-XXXXXX").string();
    if (mkdtemp(pattern.data())) path_ = pattern;
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

const std::filesystem::path& scratch() {
  static const ScratchDirectory directory;
  return directory.path();
}

std::string read_all(int descriptor) {
  std::string out;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(descriptor, buffer, sizeof buffer)) > 0;)
    out.append(buffer, static_cast<size_t>(n));
  close(descriptor);
  return out;
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& command, const std::string& input) {
  int in[2];
  int out[2];
  int err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) return {};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int spawned = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  for (const int end : {in[0], out[1], err[1]}) close(end);
  CommandResult result;
  if (spawned != 0) {
    for (const int end : {in[1], out[0], err[0]}) close(end);
    return result;
  }
  std::jthread writer([&] {
    static_cast<void>(!write(in[1], input.data(), input.size()));
    close(in[1]);
  });
  std::jthread errors([&] { result.err = read_all(err[0]); });
  result.out = read_all(out[0]);
  writer.join();
  errors.join();
  int status = 0;
  waitpid(child, &status, 0);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

CommandResult skep(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), SKEP_COMMAND);
  return run_command(arguments);
}

CommandResult conformance(std::vector<std::string> arguments, const std::string& input) {
  arguments.insert(arguments.begin(), SKEP_CONFORMANCE);
  return run_command(arguments, input);
}

std::string scratch_path(const std::string& name) { return scratch() / name; }

std::string write_file(const std::string& name, const std::string& bytes) {
  const std::string path = scratch_path(name);
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string object(const std::string& name) { return std::string(SKEP_BPF_DIR) + "/" + name; }
std::string sample_traffic() { return SKEP_SAMPLE_TRAFFIC; }

}  // namespace skep::test
