#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>

namespace skep::maps {

// The atomics that the lock-free code of this folder is made of. It takes them as a template's parameter, so
// that a test can put in ones that stop before every operation and so choose which thread takes the next
// step.
struct HostAtomics {
  template <class T>
  using Atomic = std::atomic<T>;

  // Between two looks at what another thread is to change; `turn` counts them. A thread that others have
  // taken the processor from needs a while to get it back.
  static void let_others_run(unsigned turn) {
    if (turn < kYields)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  // The same for what takes a few microseconds at the most, if its thread has a processor: so often.
  static void pause() { __builtin_ia32_pause(); }
  static constexpr unsigned kSpins = 100;

  static constexpr unsigned kYields = 32;
  // How often to look before giving up: a tenth of a second.
  static constexpr unsigned kPatience = kYields + 500;
};

// What threads write often and apart from each other begins on a line of its own.
inline constexpr size_t kCacheLine = 64;

}  // namespace skep::maps
