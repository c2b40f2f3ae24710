#include "maps/queue_map.hpp"

#include <bit>
#include <cerrno>
#include <utility>

#include "maps/value_copy.hpp"

namespace skep::maps {

Result<std::shared_ptr<Map>> QueueMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check(spec); !checked) return std::unexpected(checked.error());
  const uint64_t size = ring_size(spec);
  const uint64_t nodes = size + SpareNodes::count(environment.cpus);
  Mapping slot_memory = Mapping::anonymous(size * sizeof(std::atomic<uint64_t>));
  Mapping node_memory = Mapping::anonymous(nodes * round_up_8(spec.value_size));
  if (!slot_memory || !node_memory) return fail(ENOMEM, "there is no memory for the queue");
  return std::make_shared<QueueMap>(spec, environment, std::move(slot_memory), std::move(node_memory));
}

QueueMap::QueueMap(const MapSpec& spec, const MapEnvironment& environment, Mapping slots, Mapping nodes)
    : KeylessMap(spec, environment, ring_size(spec)),
      slots_(std::move(slots)),
      nodes_(std::move(nodes)),
      slots_size_(ring_size(spec)),
      slot_bits_(static_cast<unsigned>(std::countr_zero(slots_size_))),
      node_bits_(static_cast<unsigned>(std::bit_width(slots_size_ + SpareNodes::count(environment.cpus)))),
      value_stride_(round_up_8(spec.value_size)),
      limit_(spec.max_entries) {}

void QueueMap::advance_tail(uint64_t from) {
  // Release: who acquires the tail sees the slot filled. Failing is as good: another did it.
  tail_.compare_exchange_strong(from, from + 1, std::memory_order_release, std::memory_order_relaxed);
}

int QueueMap::push_node(const void* value, bool overwrite, SpareNodes::Claim& spare) {
  write_validated(this->value(spare.node()), value, spec().value_size);
  for (;;) {
    // Acquire: pairs with advance_tail(); the slots of all positions before are seen filled.
    const uint64_t tail = tail_.load(std::memory_order_acquire);
    // Acquire: pairs with the exchange in pop_node(); copies out of the node that we may get are finished.
    const uint64_t head = head_.load(std::memory_order_acquire);
    if (!overwrite && tail - head >= limit_) {
      // The tail stood still around the reading of the head: the map was full then.
      if (tail_.load(std::memory_order_acquire) == tail) return -E2BIG;
      continue;
    }
    std::atomic<uint64_t>& place = slot(tail);
    // Acquire: pairs with the exchange below, so that the tail is moved on only after what fills the slot.
    uint64_t before = place.load(std::memory_order_acquire);
    if (is_of(before, tail)) {
      advance_tail(tail);
      continue;
    }
    // Of neither this round nor the one before: the tail has moved on.
    if (!is_of(before, tail - slots_size_)) continue;
    const uint64_t old = node_in(before, tail);
    // Release: pairs with copy_oldest(), which sees the value. Acquire: the node that was here becomes ours.
    // A slot's word never comes back but after as many rounds as the upper bits can count, so this succeeds
    // only while the tail is where we read it.
    if (!place.compare_exchange_strong(before, word(tail, spare.node()), std::memory_order_acq_rel,
                                       std::memory_order_relaxed))
      continue;
    advance_tail(tail);
    spare.node() = old;
    return 0;
  }
}

QueueMap::Oldest QueueMap::copy_oldest(void* value) {
  for (;;) {
    // Acquire, both, keeps their order: the tail is not behind this head, and if they are equal the queue was
    // empty when the tail was read.
    const uint64_t head = head_.load(std::memory_order_acquire);
    const uint64_t tail = tail_.load(std::memory_order_acquire);
    if (head == tail) return {};
    const uint64_t position = tail - head > limit_ ? tail - limit_ : head;
    // Acquire: pairs with the exchange in push_node().
    const uint64_t found = slot(position).load(std::memory_order_acquire);
    if (!is_of(found, position)) continue;
    read_validated(value, this->value(node_in(found, position)), spec().value_size);
    // The node leaves the slot when the tail is more than max_entries ahead. Who writes to it has read the
    // tail so, and reading a word of theirs above acquires that: then this load reads such a tail, too.
    if (tail_.load(std::memory_order_acquire) - position > limit_) continue;
    return {head, position, true};
  }
}

int QueueMap::pop_node(void* value, SpareNodes::Claim& /*spare*/) {
  for (;;) {
    Oldest oldest = copy_oldest(value);
    if (!oldest.found) return empty(value);
    // Release: pairs with the pushes that read the head. Relaxed otherwise: nothing is read after it. The
    // head only grows, so that it is still what it was means that nobody popped the position. If an
    // overwriting push came between the last reading of the tail and this, the pop counts as made just before
    // that push.
    if (head_.compare_exchange_strong(oldest.head, oldest.position + 1, std::memory_order_release,
                                      std::memory_order_relaxed))
      return 0;
  }
}

int QueueMap::peek(void* value) {
  for (;;) {
    const Oldest oldest = copy_oldest(value);
    if (!oldest.found) return empty(value);
    // Relaxed: copy_oldest() acquired the tail before, and the value has been validated against it.
    if (head_.load(std::memory_order_relaxed) == oldest.head) return 0;
  }
}

int QueueMap::clear() {
  // Relaxed: nobody else uses the map.
  head_.store(tail_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  return 0;
}

}  // namespace skep::maps
