#pragma once

#include <string>
#include <string_view>

#include "skep/error.hpp"

namespace skep::tools {

// A file that is opened before the work whose result it is to hold, so that a path that cannot be written
// is known before. What it held is gone only when the result is written; a file that was made for a result
// that never came is removed.
class ReportFile {
 public:
  // Errors name the path.
  static Result<ReportFile> open(const std::string& path);
  ReportFile(ReportFile&& other) noexcept;
  ReportFile& operator=(ReportFile&& other) noexcept;
  ~ReportFile();

  Result<void> write(std::string_view text);

 private:
  ReportFile(std::string path, int descriptor, bool made)
      : path_(std::move(path)), descriptor_(descriptor), made_(made) {}
  std::string path_;
  int descriptor_;
  bool made_;  // and not yet written
};

}  // namespace skep::tools
