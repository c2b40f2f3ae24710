#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "syscall/user_memory.hpp"

namespace skep::sys {

// The log buffer of BPF_PROG_LOAD and BPF_BTF_LOAD (kernel/bpf/log.c).
class LoadLog {
 public:
  LoadLog(uint32_t level, uint64_t buffer, uint32_t size) : level_(level), buffer_(buffer), size_(size) {}

  // Whether level, buffer and size make sense together; if not the command fails with EINVAL.
  bool valid() const;
  bool wanted() const { return level_ != 0; }
  void add(std::string_view text) {
    if (wanted()) text_ += text;
  }

  // Writes the buffer: the end of what was said, or its beginning with BPF_LOG_FIXED, always terminated.
  // 0, -ENOSPC when it did not fit, -EFAULT; the latter two win over the command's own result.
  long finish(UserMemory& memory) const;
  // The size that would have held it all (log_true_size).
  uint32_t true_size() const { return text_.empty() ? 0 : static_cast<uint32_t>(text_.size() + 1); }

 private:
  uint32_t level_;
  uint64_t buffer_;
  uint32_t size_;
  std::string text_;
};

}  // namespace skep::sys
