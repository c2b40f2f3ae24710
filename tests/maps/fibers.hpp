#pragma once

#include <ucontext.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace skep::maps {

// Threads that take turns at every atomic operation, on one host thread: whoever chooses the turns explores
// interleavings, and the same choices give the same run. Orders weaker than sequential consistency are not
// explored.
class Fibers {
 public:
  static constexpr size_t kNobody = SIZE_MAX;
  // Who takes the next step: one of `runnable`, or kNobody to end run(). `current` has just been at the turn.
  using Choose = std::function<size_t(const std::vector<size_t>& runnable, size_t current)>;

  Fibers() = default;
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  // Bodies must not throw.
  void add(std::function<void()> body);
  // Until every fiber is through, or `choose` says so; may be called again to go on.
  void run(Choose choose);

  bool done(size_t fiber) const { return fibers_[fiber]->done; }
  // Steps taken by all.
  uint64_t steps() const { return steps_; }

  // Where another may take over; nothing outside of run().
  static void step();

 private:
  static constexpr size_t kStackSize = size_t{256} << 10;
  struct Fiber {
    ucontext_t context{};
    std::function<void()> body;
    std::unique_ptr<std::byte[]> stack;
    bool done = false;
  };

  static void enter();
  size_t choose_next();
  ucontext_t& context_of(size_t fiber) { return fiber == kNobody ? main_ : fibers_[fiber]->context; }
  void switch_from(size_t fiber);

  // The atomics have no argument in which this could travel.
  static inline Fibers* running_ = nullptr;

  std::vector<std::unique_ptr<Fiber>> fibers_;
  Choose choose_;
  ucontext_t main_{};
  size_t current_ = kNobody;
  uint64_t steps_ = 0;
};

// For the templates of maps/: a step before every operation.
struct SteppedAtomics {
  // Each look is a step.
  static void let_others_run(unsigned /*turn*/) {}
  static constexpr unsigned kPatience = 32;
  static void pause() {}
  static constexpr unsigned kSpins = 1;

  template <class T>
  class Atomic {
   public:
    constexpr Atomic() = default;
    constexpr Atomic(T value) : value_(value) {}

    T load(std::memory_order order) const {
      Fibers::step();
      return value_.load(order);
    }
    void store(T value, std::memory_order order) {
      Fibers::step();
      value_.store(value, order);
    }
    T exchange(T value, std::memory_order order) {
      Fibers::step();
      return value_.exchange(value, order);
    }
    T fetch_add(T value, std::memory_order order) {
      Fibers::step();
      return value_.fetch_add(value, order);
    }
    template <class... Orders>
    bool compare_exchange_strong(T& expected, T desired, Orders... orders) {
      Fibers::step();
      return value_.compare_exchange_strong(expected, desired, orders...);
    }
    template <class... Orders>
    bool compare_exchange_weak(T& expected, T desired, Orders... orders) {
      return compare_exchange_strong(expected, desired, orders...);
    }

   private:
    std::atomic<T> value_{};
  };
};

}  // namespace skep::maps
