#pragma once

#include <atomic>
#include <cstddef>

namespace skep::maps {

// The atomics that the lock-free code of this folder is made of. It takes them as a template's parameter, so
// that a test can put in ones that stop before every operation and so choose which thread takes the next
// step.
struct HostAtomics {
  template <class T>
  using Atomic = std::atomic<T>;
};

// What threads write often and apart from each other begins on a line of its own.
inline constexpr size_t kCacheLine = 64;

}  // namespace skep::maps
