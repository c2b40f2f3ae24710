#include "tools/bench/report_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace skep::tools {
namespace {

constexpr mode_t kMode = 0666;

}  // namespace

Result<ReportFile> ReportFile::open(const std::string& path) {
  int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
  const bool made = descriptor >= 0;
  if (!made && errno == EEXIST) descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return fail(errno, fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  return ReportFile(path, descriptor, made);
}

ReportFile::ReportFile(ReportFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      made_(std::exchange(other.made_, false)) {}

ReportFile& ReportFile::operator=(ReportFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(made_, other.made_);
  return *this;
}

ReportFile::~ReportFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (made_) unlink(path_.c_str());
}

Result<void> ReportFile::write(std::string_view text) {
  // A pipe or a terminal has no length to cut.
  static_cast<void>(!ftruncate(descriptor_, 0));
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(errno, fmt::format("cannot write {}: {}", path_, std::strerror(errno)));
    text.remove_prefix(static_cast<size_t>(written));
  }
  made_ = false;
  return {};
}

}  // namespace skep::tools
