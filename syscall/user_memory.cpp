#include "syscall/user_memory.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace skep::sys {
namespace {

constexpr uint64_t kPage = 4096;

// The system calls report in errno; the command's caller keeps its own.
class KeepErrno {
 public:
  KeepErrno() = default;
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;
  ~KeepErrno() { errno = saved_; }

 private:
  int saved_ = errno;
};

// rt_sigprocmask copies the eight bytes of the new mask before it looks at what to do with them; there is no
// -1 to do. Not the page's first word: a null pointer would mean that there is no mask.
bool page_readable(uint64_t page) {
  const KeepErrno keep;
  return syscall(SYS_rt_sigprocmask, -1, page + 8, nullptr, 8) == 0 || errno != EFAULT;
}

// FUTEX_WAKE_OP adds to a word and wakes whom we tell it: zero, and nobody. That needs the page to be
// writable and is atomic, so it disturbs no other thread's use of the word.
bool page_writable(uint64_t page) {
  const KeepErrno keep;
  int nobody = 0;
  return syscall(SYS_futex, &nobody, FUTEX_WAKE_OP_PRIVATE, 0, 0, page,
                 FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)) >= 0 ||
         errno != EFAULT;
}

template <class Probe>
bool all_pages(uint64_t address, size_t size, uint64_t& known, Probe probe) {
  if (size == 0) return true;
  const uint64_t last = address + (size - 1);
  if (last < address) return false;
  for (uint64_t page = address & ~(kPage - 1); page <= last; page += kPage) {
    if (page != known && !probe(page)) return false;
    known = page;
    if (page + kPage < page) break;
  }
  return true;
}

}  // namespace

bool UserMemory::readable(uint64_t address, size_t size) {
  return all_pages(address, size, readable_page_, page_readable);
}

bool UserMemory::writable(uint64_t address, size_t size) {
  return all_pages(address, size, writable_page_, page_writable);
}

bool UserMemory::read(void* to, uint64_t from, size_t size) {
  if (!readable(from, size)) return false;
  if (size != 0) std::memcpy(to, reinterpret_cast<const void*>(from), size);
  return true;
}

bool UserMemory::write(uint64_t to, const void* from, size_t size) {
  if (!writable(to, size)) return false;
  if (size != 0) std::memcpy(reinterpret_cast<void*>(to), from, size);
  return true;
}

std::optional<std::string> UserMemory::read_string(uint64_t from, size_t limit) {
  std::string out;
  while (out.size() < limit) {
    const uint64_t at = from + out.size();
    const size_t rest_of_page = static_cast<size_t>(kPage - at % kPage);
    const size_t size = std::min(limit - out.size(), rest_of_page);
    if (!readable(at, size)) return std::nullopt;
    const char* part = reinterpret_cast<const char*>(at);
    const size_t length = strnlen(part, size);
    out.append(part, length);
    if (length < size) break;
  }
  return out;
}

std::optional<bool> UserMemory::is_zero(uint64_t from, size_t size) {
  std::array<std::byte, 256> part{};
  while (size != 0) {
    const size_t here = std::min(size, part.size());
    if (!read(part.data(), from, here)) return std::nullopt;
    if (!std::all_of(part.data(), part.data() + here, [](std::byte b) { return b == std::byte{0}; }))
      return false;
    from += here;
    size -= here;
  }
  return true;
}

}  // namespace skep::sys
