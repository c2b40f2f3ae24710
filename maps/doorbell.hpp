#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace skep::maps {

// What user space waits at for a ring: an eventfd that stands in for the map's descriptor in epoll(7), since
// files of memory cannot be waited for. It is ready from ring() on until settle() finds nothing to be ready
// for, which whoever is about to wait calls first: so it is ready as long as the kernel's poll of the map
// would say so.
//
// Made when somebody first waits; before that ringing costs one load. Thread-safe; ring() never waits.
class Doorbell {
 public:
  // What being ready looks like: a descriptor that can be read from, or one that can be written to.
  enum class Side : uint8_t { kReadable, kWritable };

  explicit Doorbell(Side side) : side_(side) {}
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;
  virtual ~Doorbell();

  // The eventfd, owned by the doorbell; a negative error number if there can be none.
  int descriptor();
  // The events of epoll that the kernel's map never has, and the eventfd might.
  uint32_t foreign_events() const;
  void ring() {
    // Acquire pairs with the release in descriptor(): the eventfd is there.
    if (descriptor_.load(std::memory_order_acquire) >= 0) ring_slowly();
  }
  void settle();

 protected:
  // Whether the kernel's poll of the map would say it is ready.
  virtual bool ready() const = 0;

 private:
  void ring_slowly();
  void show(bool ready) const;

  const Side side_;
  std::atomic<int> descriptor_{-1};
  // Whether the eventfd was made ready since it was last made quiet: saves system calls.
  std::atomic<bool> rung_{false};
  std::mutex making_;
};

}  // namespace skep::maps
