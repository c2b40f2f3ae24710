#include "maps/epoch.hpp"

#include <new>
#include <span>
#include <thread>
#include <utility>

namespace skep::maps {

EpochDomain::EpochDomain(unsigned cpus) : cpus_(cpus), cpu_participants_(new Participant[cpus]) {}

EpochDomain::~EpochDomain() {
  // What is reclaimed here may retire more, hence the loop.
  while (Retired* node = take_due(UINT64_MAX)) {
    while (node != nullptr) {
      Retired* next = node->next;
      node->reclaim(node);
      node = next;
    }
  }
  for (TaskBlock* block = tasks_.next.load(std::memory_order_acquire); block != nullptr;) {
    const std::unique_ptr<TaskBlock> gone(block);
    block = block->next.load(std::memory_order_acquire);
  }
}

void EpochDomain::CpuGuard::reenter() {
  domain_.leave(participant_);
  domain_.settle(participant_, domain_.epoch_.load(std::memory_order_acquire));
}

EpochDomain::Participant& EpochDomain::claim_task_participant() {
  TaskBlock* block = &tasks_;
  for (;;) {
    const uint64_t epoch = epoch_.load(std::memory_order_acquire);
    for (Participant& participant : block->participants) {
      uint64_t idle = kIdle;
      // Relaxed look first, to leave lines of participants in use alone. The exchange acquires the release of
      // the participant's last guard and is seq_cst for the same reason as the store in settle(), which
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

bool EpochDomain::passes(const Participant* first, size_t count, uint64_t epoch) {
  for (const Participant& participant : std::span(first, count)) {
    // seq_cst: pairs with the store in settle() by total order, with the store in leave() as its acquire.
    const uint64_t entered = participant.epoch.load(std::memory_order_seq_cst);
    if (entered != kIdle && entered != epoch) return false;
  }
  return true;
}

bool EpochDomain::try_advance() {
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

void EpochDomain::retire(Retired& node, void (*reclaim)(Retired*)) {
  node.next = nullptr;
  node.epoch = current();
  node.reclaim = reclaim;
  const std::lock_guard lock(retired_lock_);
  *end_ = &node;
  end_ = &node.next;
  waiting_.fetch_add(1, std::memory_order_relaxed);
}

EpochDomain::Retired* EpochDomain::take_due(uint64_t now) {
  const std::unique_lock lock(retired_lock_, std::try_to_lock);
  if (!lock.owns_lock()) return nullptr;
  // The list is in the order of retirement but for threads that overtook each other; then some wait a little
  // longer.
  Retired* const due = first_;
  Retired* last = nullptr;
  size_t taken = 0;
  while (first_ != nullptr && first_->epoch <= now - kGrace) {
    last = std::exchange(first_, first_->next);
    ++taken;
  }
  if (last == nullptr) return nullptr;
  last->next = nullptr;
  if (first_ == nullptr) end_ = &first_;
  waiting_.fetch_sub(taken, std::memory_order_relaxed);
  return due;
}

void EpochDomain::collect() {
  for (uint64_t step = 0; step < kGrace; ++step) {
    if (!try_advance()) break;
  }
  Retired* node = take_due(current());
  while (node != nullptr) {
    Retired* next = node->next;
    node->reclaim(node);
    node = next;
  }
}

}  // namespace skep::maps
