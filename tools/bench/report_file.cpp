#include "tools/bench/report_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

namespace skep::tools {
namespace {

std::unexpected<Error> cannot_write(const std::string& path, int error) {
  return fail(error, fmt::format("cannot write the report {}: {}", path, std::strerror(error)));
}

}  // namespace

Result<ReportFile> ReportFile::create(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code missing;
  const fs::path target = fs::canonical(path, missing);  // where a link leads to
  if (!missing && !fs::is_regular_file(target))
    return fail(EINVAL, fmt::format("cannot write the report {}: it is there and no ordinary file", path));
  const std::string place = missing ? path : target.string();
  std::string draft = fmt::format("{}.{}", place, getpid());
  const int descriptor = open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return cannot_write(path, errno);
  return ReportFile(place, std::move(draft), descriptor);
}

ReportFile::ReportFile(ReportFile&& other) noexcept
    : path_(std::move(other.path_)),
      draft_(std::move(other.draft_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

ReportFile::~ReportFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(draft_.c_str());
}

Result<void> ReportFile::commit(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return cannot_write(path_, errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (close(std::exchange(descriptor_, -1)) != 0 || std::rename(draft_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    unlink(draft_.c_str());
    return cannot_write(path_, error);
  }
  return {};
}

}  // namespace skep::tools
