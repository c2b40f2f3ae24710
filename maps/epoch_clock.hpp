#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <thread>

#include "maps/atomics.hpp"

namespace skep::maps {

// The epochs of epoch-based reclamation: who is inside, since when, and whether the epoch may move on. What
// is done with memory that is out of reach is the users' business (EpochDomain, ElementPool).
//
// Guarantees
//  - Entering costs one store with full ordering and two loads; leaving costs one store.
//  - What was unlinked inside and retired at epoch t is out of everybody's reach at epoch t + kGrace.
//  - No function waits for another thread; entering tries again only when the epoch has moved meanwhile.
// Not promised
//  - That the epoch moves: a participant that stays inside holds it up.
//
// How it works, and why the orderings are enough. There is a global epoch G. A participant publishes the
// epoch it entered at; G advances from g to g + 1 only when a scan found every participant idle or at g. Two
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
// What every participant reads lies apart from what few write, hence the padding.
template <class Atomics>
class EpochClock {
 public:
  // Epochs between retiring something and reusing it.
  static constexpr uint64_t kGrace = 3;

  struct alignas(kCacheLine) Participant {
    typename Atomics::template Atomic<uint64_t> epoch{kIdle};
  };

  // One participant per simulated CPU; others are added as tasks need them.
  explicit EpochClock(unsigned cpus) : cpus_(cpus), cpu_participants_(new Participant[cpus]) {}
  EpochClock(const EpochClock&) = delete;
  EpochClock& operator=(const EpochClock&) = delete;
  ~EpochClock() {
    for (TaskBlock* block = tasks_.next.load(std::memory_order_acquire); block != nullptr;) {
      const std::unique_ptr<TaskBlock> gone(block);
      block = block->next.load(std::memory_order_acquire);
    }
  }

  unsigned cpus() const { return cpus_; }
  Participant& cpu_participant(unsigned cpu) { return cpu_participants_[cpu]; }

  // Acquire: pairs with the advance, see (2).
  void enter(Participant& participant) { settle(participant, epoch_.load(std::memory_order_acquire)); }
  // Release: pairs with the scan's load; all reads made inside happen before what the scan allows.
  void leave(Participant& participant) { participant.epoch.store(kIdle, std::memory_order_release); }
  // Enters as somebody who is no CPU. Waits only if memory for another participant is refused.
  Participant& enter_task();

  // Whether entering again would change nothing. Relaxed: a hint; staying inside is right whatever it says.
  bool is_current(const Participant& participant) const {
    return epoch_.load(std::memory_order_relaxed) == participant.epoch.load(std::memory_order_relaxed);
  }
  // Inside: what is retired now may be reused when current() >= the value returned here + kGrace. Acquire:
  // pairs with the advance, see (2).
  uint64_t current() const { return epoch_.load(std::memory_order_acquire); }
  // Moves the epoch on if every participant has seen it. Never waits.
  bool try_advance();

 private:
  static constexpr uint64_t kIdle = 0;
  static constexpr unsigned kTasksPerBlock = 16;
  // Above kGrace, so that no arithmetic on epochs goes below zero.
  static constexpr uint64_t kFirstEpoch = 16;

  struct TaskBlock {
    Participant participants[kTasksPerBlock];
    typename Atomics::template Atomic<TaskBlock*> next{nullptr};
  };

  // Publishes the current epoch in a participant that is ours; `epoch` is a recent reading of G.
  void settle(Participant& participant, uint64_t epoch) {
    for (;;) {
      // seq_cst: pairs with the scan's load in try_advance(); the total order decides which of this entry and
      // an advance comes first, see (1).
      participant.epoch.store(epoch, std::memory_order_seq_cst);
      const uint64_t now = epoch_.load(std::memory_order_seq_cst);
      if (now == epoch) return;
      epoch = now;
    }
  }

  static bool passes(const Participant* first, size_t count, uint64_t epoch);

  unsigned cpus_;
  std::unique_ptr<Participant[]> cpu_participants_;
  TaskBlock tasks_;  // the first of a list that only grows
  // Read by everybody, written seldom.
  alignas(kCacheLine) typename Atomics::template Atomic<uint64_t> epoch_{kFirstEpoch};
};

template <class Atomics>
typename EpochClock<Atomics>::Participant& EpochClock<Atomics>::enter_task() {
  TaskBlock* block = &tasks_;
  for (;;) {
    const uint64_t epoch = epoch_.load(std::memory_order_acquire);
    for (Participant& participant : block->participants) {
      uint64_t idle = kIdle;
      // Relaxed look first, to leave lines of participants in use alone. The exchange acquires the release of
      // the participant's last user and is seq_cst for the same reason as the store in settle(), which
      // follows.
      if (participant.epoch.load(std::memory_order_relaxed) == kIdle &&
          participant.epoch.compare_exchange_strong(idle, epoch, std::memory_order_seq_cst)) {
        settle(participant, epoch);
        return participant;
      }
    }
    // seq_cst, here and in try_advance(): an advance that missed the new block precedes every store to its
    // slots.
    TaskBlock* next = block->next.load(std::memory_order_seq_cst);
    if (next == nullptr) {
      std::unique_ptr<TaskBlock> fresh(new (std::nothrow) TaskBlock);
      if (fresh == nullptr) {
        std::this_thread::yield();
        next = &tasks_;
      } else if (block->next.compare_exchange_strong(next, fresh.get(), std::memory_order_seq_cst)) {
        next = fresh.release();
      }
    }
    block = next;
  }
}

template <class Atomics>
bool EpochClock<Atomics>::passes(const Participant* first, size_t count, uint64_t epoch) {
  for (const Participant& participant : std::span(first, count)) {
    // seq_cst: pairs with the store in settle() by total order, with the store in leave() as its acquire.
    const uint64_t entered = participant.epoch.load(std::memory_order_seq_cst);
    if (entered != kIdle && entered != epoch) return false;
  }
  return true;
}

template <class Atomics>
bool EpochClock<Atomics>::try_advance() {
  // seq_cst: comes before the scan in the total order, see (1).
  uint64_t epoch = epoch_.load(std::memory_order_seq_cst);
  if (!passes(cpu_participants_.get(), cpus_, epoch)) return false;
  for (const TaskBlock* block = &tasks_; block != nullptr;
       block = block->next.load(std::memory_order_seq_cst)) {
    if (!passes(block->participants, kTasksPerBlock, epoch)) return false;
  }
  // Releases what the scan acquired to those who read the new epoch. When it fails another thread has
  // advanced, which serves as well.
  epoch_.compare_exchange_strong(epoch, epoch + 1, std::memory_order_seq_cst);
  return true;
}

}  // namespace skep::maps
