#include "jit/perf_map.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace skep::jit {
namespace {

// A file that others made in advance is not written to: the directory is everyone's.
bool is_own_file(int file) {
  struct stat status{};
  return fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
         status.st_nlink == 1;
}

std::string lines_for(uintptr_t begin, std::span<const CodeSymbol> symbols) {
  std::string lines;
  for (const CodeSymbol& symbol : symbols) {
    char numbers[40];
    std::snprintf(numbers, sizeof numbers, "%zx %x ", begin + symbol.offset, symbol.size);
    lines += numbers + symbol.name + "\n";
  }
  return lines;
}

}  // namespace

// Opened anew for each program: a process that forked writes to a file of its own from then on.
void PerfMap::add(std::span<const uint8_t> code, std::span<const CodeSymbol> symbols) {
  const std::string path = "/tmp/perf-" + std::to_string(getpid()) + ".map";
  const int file =
      open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
  if (file < 0) return complain(path, std::strerror(errno));
  const std::string lines = lines_for(reinterpret_cast<uintptr_t>(code.data()), symbols);
  if (!is_own_file(file)) {
    complain(path, "not a file of this user's alone");
  } else {
    // One write, so that what several threads append does not mix.
    const ssize_t written = write(file, lines.data(), lines.size());
    if (written < 0)
      complain(path, std::strerror(errno));
    else if (static_cast<size_t>(written) != lines.size())
      complain(path, "not written as a whole");
  }
  close(file);
}

void PerfMap::complain(const std::string& path, const std::string& cause) {
  // Relaxed: nothing but the answer itself is shared.
  if (complained_.exchange(true, std::memory_order_relaxed) || !warn_) return;
  warn_(path + ": " + cause + ": perf will not know the names of the JIT's code");
}

}  // namespace skep::jit
