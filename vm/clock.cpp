#include "vm/clock.hpp"

#include <ctime>

namespace skep::vm {
namespace {

constexpr uint64_t kHz = 250;
constexpr uint64_t kNsPerJiffy = 1'000'000'000 / kHz;
constexpr uint64_t kInitialJiffies = static_cast<uint32_t>(-300 * static_cast<int64_t>(kHz));

uint64_t host_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

uint64_t Clock::monotonic_ns() {
  if (!simulated_) return host_ns(CLOCK_MONOTONIC);
  return now_.fetch_add(1, std::memory_order_relaxed);
}

uint64_t Clock::boot_ns() {
  if (!simulated_) return host_ns(CLOCK_BOOTTIME);
  return now_.fetch_add(1, std::memory_order_relaxed);
}

uint64_t Clock::now_ns(int clock) const {
  return simulated_ ? now_.load(std::memory_order_relaxed) : host_ns(clock);
}

void Clock::advance_to(uint64_t ns) {
  uint64_t now = now_.load(std::memory_order_relaxed);
  while (now < ns && !now_.compare_exchange_weak(now, ns, std::memory_order_relaxed)) {
  }
}

uint64_t Clock::jiffies64() { return kInitialJiffies + monotonic_ns() / kNsPerJiffy; }

}  // namespace skep::vm
