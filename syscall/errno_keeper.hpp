#pragma once

#include <cerrno>

namespace skep::sys {

// A system call that succeeds leaves errno alone, whatever was asked of the C library on its way.
class [[nodiscard]] ErrnoKeeper {
 public:
  ErrnoKeeper() : kept_(errno) {}
  ErrnoKeeper(const ErrnoKeeper&) = delete;
  ErrnoKeeper& operator=(const ErrnoKeeper&) = delete;
  ~ErrnoKeeper() { errno = kept_; }

 private:
  int kept_;
};

}  // namespace skep::sys
