#include "syscall/load_log.hpp"

#include <cerrno>
#include <limits>

namespace skep::sys {
namespace {

constexpr uint32_t kFixed = 8;       // BPF_LOG_FIXED
constexpr uint32_t kLevelMask = 15;  // BPF_LOG_MASK

}  // namespace

bool LoadLog::valid() const {
  if ((buffer_ != 0) != (size_ != 0)) return false;
  if (buffer_ != 0 && level_ == 0) return false;
  return (level_ & ~kLevelMask) == 0 && size_ <= std::numeric_limits<uint32_t>::max() >> 2;
}

long LoadLog::finish(UserMemory& memory) const {
  if (!wanted() || buffer_ == 0 || text_.empty()) return 0;
  std::string_view shown = text_;
  const size_t room = size_ - 1;
  if (shown.size() > room) {
    if ((level_ & kFixed) != 0)
      shown = shown.substr(0, room);
    else
      shown = shown.substr(shown.size() - room);
  }
  std::string out(shown);
  if (!memory.write(buffer_, out.c_str(), out.size() + 1)) return -EFAULT;
  return text_.size() > room ? -ENOSPC : 0;
}

}  // namespace skep::sys
