#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "maps/atomics.hpp"
#include "maps/epoch_clock.hpp"

namespace skep::maps {

// Epoch-based reclamation: memory that readers may still hold is reused only after every participant that was
// inside a guard when it was unlinked has left that guard. EpochClock says how.
//
// Guarantees
//  - What is retired inside a guard is reclaimed only when no guard can reach it any more.
//  - Reclamation happens at fixed points (when a guard ends, or when a pool asks), never on a timer: a
//    process with one thread reclaims at the same places in every run.
// Not promised
//  - A bound on what waits: a participant that stays inside holds up reclamation for all.
//  - Nesting of CpuGuards of one CPU. A TaskGuard may be taken inside a CpuGuard.
class EpochDomain {
 public:
  using Clock = EpochClock<HostAtomics>;
  // Epochs between retiring something and reclaiming it.
  static constexpr uint64_t kGrace = Clock::kGrace;

  // One participant per simulated CPU; others are added as TaskGuards need them.
  explicit EpochDomain(unsigned cpus) : clock_(cpus) {}
  EpochDomain(const EpochDomain&) = delete;
  EpochDomain& operator=(const EpochDomain&) = delete;
  // No guard may be alive. Reclaims everything that still waits.
  ~EpochDomain();

  unsigned cpus() const { return clock_.cpus(); }
  Clock& clock() { return clock_; }

  // A program run on a simulated CPU. At most one at a time per CPU.
  class CpuGuard {
   public:
    CpuGuard(EpochDomain& domain, unsigned cpu)
        : domain_(domain), participant_(domain.clock_.cpu_participant(cpu)) {
      domain.clock_.enter(participant_);
    }
    CpuGuard(const CpuGuard&) = delete;
    CpuGuard& operator=(const CpuGuard&) = delete;
    ~CpuGuard() { domain_.leave(participant_); }

    // As if the guard ended and began again: what was reached through it is given up. For a guard that is
    // kept over many runs; costs two loads unless the epoch has moved or something waits to be reclaimed.
    void renew() {
      if (!is_current()) [[unlikely]]
        reenter();
    }
    // Whether renew() has nothing to do. Relaxed: hints; leaving and entering do their own ordering.
    bool is_current() const {
      return domain_.clock_.is_current(participant_) && domain_.waiting_.load(std::memory_order_relaxed) == 0;
    }

   private:
    void reenter();

    EpochDomain& domain_;
    Clock::Participant& participant_;
  };

  // A thread that drives no CPU. Any number at a time; waits only if memory for another participant is
  // refused.
  class TaskGuard {
   public:
    explicit TaskGuard(EpochDomain& domain) : domain_(domain), participant_(domain.clock_.enter_task()) {}
    TaskGuard(const TaskGuard&) = delete;
    TaskGuard& operator=(const TaskGuard&) = delete;
    ~TaskGuard() { domain_.leave(participant_); }

   private:
    EpochDomain& domain_;
    Clock::Participant& participant_;
  };

  // Something to be handed back later; the object to reclaim derives from it or holds it.
  struct Retired {
    Retired* next = nullptr;
    uint64_t epoch = 0;
    void (*reclaim)(Retired*) = nullptr;
  };

  // Calls node.reclaim(&node) once nobody can reach it. Called inside a guard, after the unlinking. The call
  // is made outside of any lock, by a thread that ends a guard.
  void retire(Retired& node, void (*reclaim)(Retired*));

  uint64_t current() const { return clock_.current(); }
  // Moves the epoch on if every participant has seen it. Never waits.
  bool try_advance() { return clock_.try_advance(); }
  // Reclaims what is due. Called when a guard ends while something waits; harmless at any other time.
  void collect();
  // How many retired nodes wait.
  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  void leave(Clock::Participant& participant) {
    clock_.leave(participant);
    // Relaxed: a hint. The thread that retired something sees its own count and so collects when it leaves,
    // or leaves it to the next guard that ends if others are still inside.
    if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      collect();
  }

  Retired* take_due(uint64_t now);

  Clock clock_;
  // Read by every guard, written seldom.
  std::atomic<size_t> waiting_{0};

  // Objects are retired by user-space commands only, so a lock is good enough here; the end of a program's
  // run only ever tries it.
  alignas(kCacheLine) std::mutex retired_lock_;
  Retired* first_ = nullptr;
  Retired** end_ = &first_;
};

}  // namespace skep::maps
