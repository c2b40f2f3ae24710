#pragma once

#include <atomic>
#include <cstdint>

namespace skep::vm {

// The machine's clock: the host's, or a simulated one that moves only by being read, by runs and by
// advance(). Thread-safe.
class Clock {
 public:
  // simulated: begins at one second of uptime.
  explicit Clock(bool simulated) : simulated_(simulated) {}

  // CLOCK_MONOTONIC and CLOCK_BOOTTIME in nanoseconds; one and the same when simulated. Never goes back.
  uint64_t monotonic_ns();
  uint64_t boot_ns();
  // CLOCK_MONOTONIC, CLOCK_BOOTTIME or CLOCK_REALTIME without moving a simulated clock by the look at it.
  uint64_t now_ns(int clock) const;
  // The kernel's jiffies64 at HZ=250, beginning five minutes before it wraps as the kernel's does.
  uint64_t jiffies64();

  // When simulated, to be called for each run: it takes a microsecond.
  void run_started() { advance(1000); }
  bool simulated() const { return simulated_; }
  void advance_to(uint64_t ns);                                                 // not back
  void advance(uint64_t ns) { now_.fetch_add(ns, std::memory_order_relaxed); }  // no data hangs on the clock

 private:
  bool simulated_;
  std::atomic<uint64_t> now_{1'000'000'000};
};

}  // namespace skep::vm
