#pragma once

#include <algorithm>
#include <bit>

#include "maps/hash_table_impl.hpp"
#include "maps/lru_list.hpp"

// The lists' functions, for those who instantiate them.

namespace skep::maps {

// Half as many again, so that closing gaps is seldom, and what a scan may add before the gaps it leaves are
// closed.
template <class Atomics>
uint32_t BasicLruList<Atomics>::ring_size(uint64_t elements, uint64_t others, unsigned scans) {
  return static_cast<uint32_t>(std::bit_ceil(elements + elements / 2 + others + scans));
}

template <class Atomics>
void BasicLruList<Atomics>::begin(Pool& pool, uint32_t* memory, uint32_t ring_size, unsigned scans) {
  pool_ = &pool;
  mask_ = ring_size - 1;
  scans_ = scans;
  active_.slots = memory;
  active_.tag = kActive;
  inactive_.slots = memory + ring_size;
  inactive_.tag = kInactive;
}

template <class Atomics>
void BasicLruList<Atomics>::clear() {
  for (Ring* ring : {&active_, &inactive_}) ring->count = 0, ring->oldest = ring->end = 0;
  hand_ = kNowhere;
}

template <class Atomics>
void BasicLruList<Atomics>::prefetch(const Ring& ring, uint64_t at) const {
  constexpr uint64_t kAhead = 12;
  if (const uint32_t ahead = slot(ring, at + kAhead); ahead != 0 && at + kAhead < ring.end)
    __builtin_prefetch(&node(pool_->at(ahead)));
}

template <class Atomics>
void BasicLruList<Atomics>::put(Ring& ring, Element* element) {
  Node& node = this->node(element);
  slot(ring, ring.end) = pool_->number(element);
  node.position.store(ring.tag | static_cast<uint32_t>(ring.end & mask_), std::memory_order_relaxed);
  node.referenced.store(0, std::memory_order_relaxed);
  ++ring.end;
  ++ring.count;
}

// The position is left to the caller.
template <class Atomics>
void BasicLruList<Atomics>::drop(Ring& ring, uint64_t at) {
  slot(ring, at) = 0;
  --ring.count;
  if (&ring == &inactive_ && at == hand_) settle_hand();
}

// On to the next element from where it is.
template <class Atomics>
void BasicLruList<Atomics>::settle_hand() {
  if (hand_ == kNowhere) return;
  while (hand_ != inactive_.end && slot(inactive_, hand_) == 0) ++hand_;
  if (hand_ == inactive_.end) hand_ = kNowhere;
}

template <class Atomics>
auto BasicLruList<Atomics>::living(Ring& ring, uint64_t at, Cache& cache) -> Element* {
  const uint32_t number = slot(ring, at);
  if (number == 0) return nullptr;
  Element* element = pool_->at(number);
  if (!Table::has_left(element)) [[likely]]
    return element;
  drop(ring, at);
  node(element).position.store(0, std::memory_order_relaxed);
  end(*pool_, element, cache);
  return nullptr;
}

template <class Atomics>
void BasicLruList<Atomics>::make_room(Ring& ring, unsigned elements, Cache& cache) {
  while (ring.oldest != ring.end && slot(ring, ring.oldest) == 0) ++ring.oldest;
  if (ring.end - ring.oldest + elements > mask_) close_gaps(ring, cache);
}

template <class Atomics>
void BasicLruList<Atomics>::close_gaps(Ring& ring, Cache& cache) {
  uint64_t to = ring.oldest;
  for (uint64_t at = ring.oldest; at != ring.end; ++at) {
    prefetch(ring, at);
    Element* element = living(ring, at, cache);
    if (element == nullptr) continue;
    slot(ring, to) = slot(ring, at);
    if (to != at) slot(ring, at) = 0;
    node(element).position.store(ring.tag | static_cast<uint32_t>(to & mask_), std::memory_order_relaxed);
    if (&ring == &inactive_ && hand_ == at) hand_ = to;
    ++to;
  }
  ring.end = to;
}

template <class Atomics>
void BasicLruList<Atomics>::add(Element* element, bool active, Cache& cache) {
  Ring& ring = active ? active_ : inactive_;
  make_room(ring, 1, cache);
  put(ring, element);
}

template <class Atomics>
bool BasicLruList<Atomics>::take_out(Element* element) {
  Node& node = this->node(element);
  const uint32_t position = node.position.load(std::memory_order_relaxed);
  if (!is_listed(position)) return false;
  Ring& ring = (position & kActive) != 0 ? active_ : inactive_;
  // From the slot to where in the ring it is now.
  const uint64_t at = ring.oldest + (((position & kSlot) - ring.oldest) & mask_);
  drop(ring, at);
  node.position.store(0, std::memory_order_relaxed);
  return true;
}

template <class Atomics>
void BasicLruList<Atomics>::rotate(Cache& cache) {
  make_room(active_, scans_, cache);
  if (inactive_.count < active_.count) rotate_active(cache);
  // The hand's scan puts as many into the active list again.
  make_room(active_, scans_, cache);
  rotate_inactive(cache);
}

// From the oldest: those that are referenced become the newest, the others inactive.
template <class Atomics>
void BasicLruList<Atomics>::rotate_active(Cache& cache) {
  make_room(inactive_, scans_, cache);
  const uint64_t end = active_.end;
  unsigned scanned = 0;
  for (uint64_t at = active_.oldest; at != end && scanned < scans_; ++at) {
    prefetch(active_, at);
    Element* element = living(active_, at, cache);
    if (element == nullptr) continue;
    const bool referenced = node(element).is_referenced();
    drop(active_, at);
    put(referenced ? active_ : inactive_, element);
    ++scanned;
  }
}

// From the hand on towards newer ones and round: those that are referenced become active.
template <class Atomics>
void BasicLruList<Atomics>::rotate_inactive(Cache& cache) {
  if (inactive_.count == 0) return;
  // Once round at the most.
  uint32_t left = inactive_.count;
  uint64_t at = hand_ == kNowhere ? inactive_.oldest : hand_;
  for (unsigned scanned = 0; scanned < scans_ && left != 0; ++at) {
    if (at == inactive_.end) at = inactive_.oldest;
    prefetch(inactive_, at);
    if (slot(inactive_, at) == 0) continue;
    --left;
    Element* element = living(inactive_, at, cache);
    if (element == nullptr) continue;
    ++scanned;
    if (!node(element).is_referenced()) continue;
    drop(inactive_, at);
    put(active_, element);
  }
  hand_ = at == inactive_.end ? kNowhere : at;
  settle_hand();
}

template <class Atomics>
unsigned BasicLruList<Atomics>::select(std::span<Element*> out, Cache& cache) {
  make_room(active_, scans_, cache);
  unsigned selected = 0;
  unsigned scanned = 0;
  for (uint64_t at = inactive_.oldest; at != inactive_.end && scanned < scans_; ++at) {
    prefetch(inactive_, at);
    Element* element = living(inactive_, at, cache);
    if (element == nullptr) continue;
    const bool referenced = node(element).is_referenced();
    drop(inactive_, at);
    if (referenced) {
      put(active_, element);
    } else {
      node(element).position.store(0, std::memory_order_relaxed);
      out[selected++] = element;
      if (selected == out.size()) break;
    }
    ++scanned;
  }
  return selected;
}

template <class Atomics>
template <class Removed>
auto BasicLruList<Atomics>::force_from(Ring& ring, Cache& cache, const Removed& removed) -> Element* {
  for (uint64_t at = ring.oldest; at != ring.end; ++at) {
    Element* element = living(ring, at, cache);
    if (element == nullptr || !removed(element)) continue;
    drop(ring, at);
    node(element).position.store(0, std::memory_order_relaxed);
    return element;
  }
  return nullptr;
}

template <class Atomics>
template <class Removed>
auto BasicLruList<Atomics>::force(Cache& cache, const Removed& removed) -> Element* {
  Element* element = force_from(inactive_, cache, removed);
  return element != nullptr ? element : force_from(active_, cache, removed);
}

}  // namespace skep::maps
