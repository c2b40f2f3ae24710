#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/target.hpp"

namespace {

namespace fs = std::filesystem;

// Files as they are, folders as the files in them, in the order of their names.
std::vector<fs::path> inputs(const std::vector<std::string>& arguments) {
  std::vector<fs::path> out;
  for (const std::string& argument : arguments) {
    if (!fs::is_directory(argument)) {
      out.emplace_back(argument);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(argument)) out.push_back(entry.path());
  }
  std::ranges::sort(out);
  return out;
}

bool replay(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    std::cerr << "cannot read " << path << "\n";
    return false;
  }
  std::cout << path.filename().string() << '\n' << std::flush;  // before it can end the process
  skep::fuzz::run_input(bytes);
  return true;
}

}  // namespace

// Runs a fuzz target once over each file named, or in each folder named: the corpus as a test. What an input
// finds ends the process.
int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty() || arguments.front() == "--help") {
    std::cerr << "usage: " << argv[0] << " FILE-OR-FOLDER...\n";
    return arguments.empty() ? 2 : 0;
  }
  const std::vector<fs::path> paths = inputs(arguments);
  const auto failed = std::ranges::count_if(paths, [](const fs::path& path) { return !replay(path); });
  std::cout << paths.size() << " inputs\n";
  return failed == 0 && !paths.empty() ? 0 : 1;
}
