#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace skep::maps {

// The nodes that no element is in: one for each CPU and each of some user-space commands at a time. Who
// publishes a node gets the one it replaces, so nodes only change places and nothing is ever freed.
class SpareNodes {
 public:
  static constexpr unsigned kTasks = 64;  // user-space commands at a time
  static constexpr uint64_t kNone = UINT64_MAX;

  // Begins with the nodes `first` and following, count() of them.
  SpareNodes(unsigned cpus, uint64_t first) : cpus_(cpus), places_(std::make_unique<Place[]>(count(cpus))) {
    for (unsigned n = 0; n < count(cpus); ++n) put(places_[n], first + n);
  }
  static unsigned count(unsigned cpus) { return cpus + kTasks; }

  // A place of one's own while it is held. What is in node() at its end stays there.
  class Claim {
   public:
    Claim(Claim&& other) noexcept : place_(other.place_), node_(other.node_) { other.place_ = nullptr; }
    Claim& operator=(Claim&&) = delete;
    ~Claim() {
      if (place_ != nullptr) put(*place_, node_);
    }
    // false: as many user-space commands as may be are under way.
    explicit operator bool() const { return place_ != nullptr; }
    uint64_t& node() { return node_; }

   private:
    friend class SpareNodes;
    Claim(std::atomic<uint64_t>* place, uint64_t node) : place_(place), node_(node) {}
    static void put(std::atomic<uint64_t>& place, uint64_t node) {
      // Release: pairs with the exchange in of_task(); whoever claims the node next sees it as we left it.
      place.store(node, std::memory_order_release);
    }
    std::atomic<uint64_t>* place_;
    uint64_t node_;
  };

  // A claim on no place: the caller looks after what is in it at the end.
  static Claim none() { return {nullptr, kNone}; }

  // Of a CPU, which one thread drives at a time.
  Claim of_cpu(unsigned cpu) {
    // Relaxed: what was done on this CPU before happens before, whichever thread did it.
    return {&places_[cpu].node, places_[cpu].node.load(std::memory_order_relaxed)};
  }

  Claim of_task() {
    for (unsigned n = cpus_; n < count(cpus_); ++n) {
      // Acquire: pairs with put().
      const uint64_t node = places_[n].node.exchange(kClaimed, std::memory_order_acquire);
      if (node != kClaimed) return {&places_[n].node, node};
    }
    return none();
  }

 private:
  static constexpr uint64_t kClaimed = UINT64_MAX - 1;

  struct alignas(64) Place {
    std::atomic<uint64_t> node{kNone};
  };
  static void put(Place& place, uint64_t node) { Claim::put(place.node, node); }

  unsigned cpus_;
  std::unique_ptr<Place[]> places_;
};

}  // namespace skep::maps
