#pragma once

#include <string>
#include <string_view>

#include "skep/error.hpp"

namespace skep::tools {

// A file that is written as a whole or not at all: until commit() what stood there stays.
class ReportFile {
 public:
  // Fails at once where the file could not be written later.
  static Result<ReportFile> create(const std::string& path);
  ReportFile(ReportFile&& other) noexcept;
  ReportFile& operator=(ReportFile&& other) = delete;
  ~ReportFile();  // without commit(): leaves nothing behind

  Result<void> commit(std::string_view text);

 private:
  ReportFile(std::string path, std::string draft, int descriptor)
      : path_(std::move(path)), draft_(std::move(draft)), descriptor_(descriptor) {}

  std::string path_;
  std::string draft_;  // where the text is written first
  int descriptor_;     // of the draft, or -1
};

}  // namespace skep::tools
