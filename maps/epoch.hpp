#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace skep::maps {

// Epoch-based reclamation: memory that readers may still hold is reused only after every participant that was
// inside a guard when it was unlinked has left that guard.
//
// Guarantees
//  - Entering a guard costs one store with full ordering and two loads; leaving costs one store and one load.
//  - What is retired inside a guard is reclaimed only when no guard can reach it any more.
//  - Reclamation happens at fixed points (when a guard ends, or when a pool asks), never on a timer: a
//    process with one thread reclaims at the same places in every run.
// Not promised
//  - A bound on what waits: a participant that stays inside holds up reclamation for all.
//  - Nesting of CpuGuards of one CPU. A TaskGuard may be taken inside a CpuGuard.
//
// How it works, and why the orderings are enough. There is a global epoch G. A guard publishes in its slot
// the epoch it entered at; G advances from g to g + 1 only when a scan found every slot idle or at g. Two
// facts follow.
//
// (1) While a participant is inside with epoch e, G is e or e + 1. Entering stores e and then reads G once
// more, and is done only if it is still e. The store, that read and the scan's loads are seq_cst: whoever
// advances from e + 1 has read G after that read, in their single total order, so its scan sees the store
// and gives up.
//
// (2) What was retired when the retiring thread read G as t is out of reach once G >= t + kGrace. The
// retirer entered at e <= t. G cannot pass e + 1 before a scan sees that the retirer has left; leave() is a
// release store and the scan's load acquires it, so the unlinking happens before the advance to e + 2. The
// advance to e + 3 <= t + kGrace begins its scan after that. A participant it sees idle either left before
// (its release store is acquired by the scan: its reads happen before the reclamation) or enters later: its
// second read of G then reads the advance to e + 2 or a later one, which acquires it, and its reads find the
// unlinked state. A participant it sees inside is at e + 2, has read G as e + 2 with acquire, and cannot see
// the memory either. The third epoch of grace is what saves a full fence between unlinking and reading t.
//
// What every guard reads lies apart from what few write, hence the padding.
class EpochDomain {
 public:
  // Epochs between retiring something and reclaiming it.
  static constexpr uint64_t kGrace = 3;

  // One participant per simulated CPU; others are added as TaskGuards need them.
  explicit EpochDomain(unsigned cpus);
  EpochDomain(const EpochDomain&) = delete;
  EpochDomain& operator=(const EpochDomain&) = delete;
  // No guard may be alive. Reclaims everything that still waits.
  ~EpochDomain();

  unsigned cpus() const { return cpus_; }

 private:
  static constexpr uint64_t kIdle = 0;
  static constexpr size_t kCacheLine = 64;

  struct alignas(kCacheLine) Participant {
    std::atomic<uint64_t> epoch{kIdle};
  };

 public:
  // A program run on a simulated CPU. At most one at a time per CPU.
  class CpuGuard {
   public:
    CpuGuard(EpochDomain& domain, unsigned cpu)
        : domain_(domain), participant_(domain.cpu_participants_[cpu]) {
      // Acquire: pairs with the advance, see (2).
      domain.settle(participant_, domain.epoch_.load(std::memory_order_acquire));
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
    // Whether renew() has nothing to do.
    bool is_current() const {
      // Relaxed: hints. Staying inside is right whatever they say; leaving and entering do their own
      // ordering.
      return domain_.epoch_.load(std::memory_order_relaxed) ==
                 participant_.epoch.load(std::memory_order_relaxed) &&
             domain_.waiting_.load(std::memory_order_relaxed) == 0;
    }

   private:
    void reenter();

    EpochDomain& domain_;
    Participant& participant_;
  };

  // A thread that drives no CPU. Any number at a time; waits only if memory for another participant is
  // refused.
  class TaskGuard {
   public:
    explicit TaskGuard(EpochDomain& domain)
        : domain_(domain), participant_(domain.claim_task_participant()) {}
    TaskGuard(const TaskGuard&) = delete;
    TaskGuard& operator=(const TaskGuard&) = delete;
    ~TaskGuard() { domain_.leave(participant_); }

   private:
    EpochDomain& domain_;
    Participant& participant_;
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

  // For owners that keep their own lists (the element pools). Inside a guard: what is retired now may be
  // reused when current() >= the value returned here + kGrace. Acquire: pairs with the advance, see (2).
  uint64_t current() const { return epoch_.load(std::memory_order_acquire); }
  // Moves the epoch on if every participant has seen it. Never waits.
  bool try_advance();
  // Reclaims what is due. Called when a guard ends while something waits; harmless at any other time.
  void collect();
  // How many retired nodes wait.
  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  static constexpr unsigned kTasksPerBlock = 16;
  // Above kGrace, so that no arithmetic on epochs goes below zero.
  static constexpr uint64_t kFirstEpoch = 16;

  struct TaskBlock {
    Participant participants[kTasksPerBlock];
    std::atomic<TaskBlock*> next{nullptr};
  };

  // Publishes the current epoch in a participant that is ours; `epoch` is a recent reading of G.
  void settle(Participant& participant, uint64_t epoch) {
    for (;;) {
      // seq_cst: pairs with the scan's load in try_advance(); the total order decides which of this guard and
      // an advance comes first, see (1).
      participant.epoch.store(epoch, std::memory_order_seq_cst);
      const uint64_t now = epoch_.load(std::memory_order_seq_cst);
      if (now == epoch) return;
      epoch = now;
    }
  }

  void leave(Participant& participant) {
    // Release: pairs with the scan's load; all reads made inside happen before what the scan allows.
    participant.epoch.store(kIdle, std::memory_order_release);
    // Relaxed: a hint. The thread that retired something sees its own count and so collects when it leaves,
    // or leaves it to the next guard that ends if others are still inside.
    if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      collect();
  }

  Participant& claim_task_participant();
  static bool passes(const Participant* first, size_t count, uint64_t epoch);
  Retired* take_due(uint64_t now);

  unsigned cpus_;
  std::unique_ptr<Participant[]> cpu_participants_;
  TaskBlock tasks_;  // the first of a list that only grows

  // Read by every guard, written seldom: together, and apart from all else.
  alignas(kCacheLine) std::atomic<uint64_t> epoch_{kFirstEpoch};
  std::atomic<size_t> waiting_{0};

  // Objects are retired by user-space commands only, so a lock is good enough here; the end of a program's
  // run only ever tries it.
  alignas(kCacheLine) std::mutex retired_lock_;
  Retired* first_ = nullptr;
  Retired** end_ = &first_;
};

}  // namespace skep::maps
