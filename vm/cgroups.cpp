#include "vm/cgroups.hpp"

#include <sys/stat.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace skep::vm {
namespace {

// The line of the unified hierarchy is "0::" and the path from the root of the cgroup namespace.
std::optional<std::string> own_path() {
  std::ifstream file("/proc/thread-self/cgroup");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("0::")) return line.substr(3);
  return std::nullopt;
}

// Without the escapes of blanks and the like: \040.
std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t n = 0; n < text.size(); ++n) {
    if (text[n] == '\\' && n + 3 < text.size()) {
      out += static_cast<char>((text[n + 1] - '0') * 64 + (text[n + 2] - '0') * 8 + (text[n + 3] - '0'));
      n += 3;
    } else {
      out += text[n];
    }
  }
  return out;
}

bool is_inside(const std::string& path, const std::string& root) {
  return root == "/" || path == root || path.starts_with(root + "/");
}

struct Mount {
  std::string root;   // the cgroup that is mounted
  std::string point;  // where
};

// One that shows the path.
std::optional<Mount> mount_of(const std::string& path) {
  std::ifstream file("/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t end = line.find(" - cgroup2 ");
    if (end == std::string::npos) continue;
    std::istringstream fields(line);
    std::string number, parent, device, root, point;
    fields >> number >> parent >> device >> root >> point;
    if (is_inside(path, unescaped(root))) return Mount{unescaped(root), unescaped(point)};
  }
  return std::nullopt;
}

}  // namespace

std::vector<uint64_t> cgroups_of_caller() {
  const auto path = own_path();
  const auto mount = path ? mount_of(*path) : std::nullopt;
  if (!mount) return {};
  std::string below = mount->root == "/" ? *path : path->substr(mount->root.size());
  if (below == "/") below.clear();
  std::vector<uint64_t> numbers;
  for (;;) {
    struct stat status{};
    if (stat((mount->point + below).c_str(), &status) == 0) numbers.push_back(status.st_ino);
    if (below.empty()) return numbers;
    below.resize(below.rfind('/') == std::string::npos ? 0 : below.rfind('/'));
  }
}

}  // namespace skep::vm
