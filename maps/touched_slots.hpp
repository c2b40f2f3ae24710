#pragma once

#include <atomic>
#include <cstdint>

#include "maps/mapping.hpp"

namespace skep::maps {

// Which slots of a large table were ever used, so that emptying it costs by what was touched. A list through
// an array that is committed as slots are touched. mark() is lock-free; for_each() and drain() may run beside
// it.
class TouchedSlots {
 public:
  explicit TouchedSlots(uint64_t slots) : next_(Mapping::anonymous(slots * sizeof(uint64_t))) {}
  bool valid() const { return static_cast<bool>(next_); }

  void mark(uint64_t slot) {
    std::atomic<uint64_t>& next = next_of(slot);
    // Relaxed: only one marker wins, and nothing is read by it; the push below publishes.
    uint64_t unmarked = 0;
    if (next.load(std::memory_order_relaxed) != 0 ||
        !next.compare_exchange_strong(unmarked, kEnd, std::memory_order_relaxed))
      return;
    uint64_t head = head_.load(std::memory_order_relaxed);
    do {
      next.store(head, std::memory_order_relaxed);
      // Release: pairs with the acquire of for_each() and drain(), which then see `next`.
    } while (
        !head_.compare_exchange_weak(head, slot + 1, std::memory_order_release, std::memory_order_relaxed));
  }

  // Calls f(slot) for every slot marked.
  template <class F>
  void for_each(F f) const {
    // Acquire: pairs with mark()'s release; later marks only lengthen the list at its head.
    for (uint64_t at = head_.load(std::memory_order_acquire); at != kEnd;) {
      const uint64_t slot = at - 1;
      at = next_of(slot).load(std::memory_order_relaxed);
      f(slot);
    }
  }

  // The same, and forgets them; by one thread at a time.
  template <class F>
  void drain(F f) {
    // Acquire: as in for_each(). The slots taken are ours until their `next` is 0 again.
    for (uint64_t at = head_.exchange(kEnd, std::memory_order_acquire); at != kEnd;) {
      const uint64_t slot = at - 1;
      at = next_of(slot).exchange(0, std::memory_order_relaxed);
      f(slot);
    }
  }

 private:
  static constexpr uint64_t kEnd = UINT64_MAX;

  std::atomic<uint64_t>& next_of(uint64_t slot) const {
    return reinterpret_cast<std::atomic<uint64_t>*>(next_.data())[slot];
  }

  Mapping next_;                      // by slot: 0 unmarked, else the following slot + 1 or kEnd
  std::atomic<uint64_t> head_{kEnd};  // the newest slot + 1
};

}  // namespace skep::maps
