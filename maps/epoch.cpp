#include "maps/epoch.hpp"

#include <utility>

namespace skep::maps {

EpochDomain::~EpochDomain() {
  // What is reclaimed here may retire more, hence the loop.
  while (Retired* node = take_due(UINT64_MAX)) {
    while (node != nullptr) {
      Retired* next = node->next;
      node->reclaim(node);
      node = next;
    }
  }
}

void EpochDomain::CpuGuard::reenter() {
  domain_.leave(participant_);
  domain_.clock_.enter(participant_);
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
