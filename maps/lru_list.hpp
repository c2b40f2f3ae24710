#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "maps/hash_table.hpp"

namespace skep::maps {

// What an LRU map knows of an element; lies in front of it.
template <class Atomics>
struct LruNode {
  // Which list the element is in and where, see LruList; 0: in none. Written under the list's lock. Relaxed:
  // who reads it without the lock takes it for a hint.
  typename Atomics::template Atomic<uint32_t> position{0};
  // Whose place the element has.
  typename Atomics::template Atomic<uint16_t> cpu{0};
  // An element has two ends: it leaves the table, and it leaves its list, in either order. Whoever brings
  // about the second retires it. acq_rel: what the other one did happens before that.
  typename Atomics::template Atomic<uint8_t> ends{0};
  // Whether programs have asked for the element since it was looked at last.
  typename Atomics::template Atomic<uint8_t> referenced{0};

  // Relaxed, here and where it is read and taken back: an estimate, which orders nothing. Looked at first, so
  // that lookups of a key that all CPUs use leave its line shared.
  void reference() {
    if (referenced.load(std::memory_order_relaxed) == 0) referenced.store(1, std::memory_order_relaxed);
  }
  bool is_referenced() const { return referenced.load(std::memory_order_relaxed) != 0; }
};

// The two lists of an LRU, active and inactive, and the kernel's rules for what goes from one to the other
// and out (kernel/bpf/bpf_lru_list.c). Everything is called under a lock of the caller's.
//
// A list is a ring of element numbers from the oldest to the newest. An element that goes leaves a gap, and
// gaps are closed when the ring is full of them: all operations cost a constant number of steps, amortized. A
// linked list would be chased from one cache miss to the next; a ring is read ahead, and so are the elements.
//
// Elements may leave the table while they are in a list, by other threads, who need not have the lock. Scans
// pass them over and take them out.
template <class Atomics>
class BasicLruList {
 public:
  using Table = BasicHashTable<Atomics>;
  using Pool = typename Table::Pool;
  using Element = typename Table::Element;
  using Cache = typename Table::Cache;
  using Node = LruNode<Atomics>;

  static Node& node(Element* element) { return *(reinterpret_cast<Node*>(element) - 1); }

  // Slots that a ring needs for so many elements in the table, and others that have left it.
  static uint32_t ring_size(uint64_t elements, uint64_t others, unsigned scans);

  // `memory`: two rings of `ring_size` slots. Scans look at so many elements.
  void begin(Pool& pool, uint32_t* memory, uint32_t ring_size, unsigned scans);
  // Empties both. What was in them is forgotten.
  void clear();

  // An element as the newest one; its reference is taken back. Of the active or the inactive ones.
  void add(Element* element, bool active, Cache& cache);
  // Takes it out; false: it is in neither. The caller ends it.
  bool take_out(Element* element);
  // Whether the element's position may be in one of these lists.
  static bool is_listed(uint32_t position) { return position != 0; }

  // Once before elements are selected.
  void rotate(Cache& cache);
  // Takes the oldest that are not referenced out of the inactive list. How many there were.
  unsigned select(std::span<Element*> out, Cache& cache);
  // The oldest, referenced or not, that `removed` agrees to, taken out; nullptr: none.
  template <class Removed>
  Element* force(Cache& cache, const Removed& removed);

  // One of an element's two ends, see LruNode.
  static void end(Pool& pool, Element* element, Cache& cache) {
    if (node(element).ends.fetch_add(1, std::memory_order_acq_rel) != 0) pool.retire(cache, element);
  }

 private:
  // Where the hand is when it has come past the newest element.
  static constexpr uint64_t kNowhere = UINT64_MAX;

  struct Ring {
    uint32_t* slots = nullptr;  // numbers of elements; 0: a gap
    uint32_t tag = 0;           // in positions, with the slot
    uint32_t count = 0;
    uint64_t oldest = 0;  // [oldest, end) modulo the size
    uint64_t end = 0;
  };
  static constexpr uint32_t kInactive = UINT32_C(1) << 30;
  static constexpr uint32_t kActive = UINT32_C(2) << 30;
  static constexpr uint32_t kSlot = kInactive - 1;

  uint32_t& slot(const Ring& ring, uint64_t at) const { return ring.slots[at & mask_]; }
  void prefetch(const Ring& ring, uint64_t at) const;
  void put(Ring& ring, Element* element);
  void drop(Ring& ring, uint64_t at);
  // The element there; nullptr: a gap, or one that has left the table, which is a gap then.
  Element* living(Ring& ring, uint64_t at, Cache& cache);
  void make_room(Ring& ring, unsigned elements, Cache& cache);
  void close_gaps(Ring& ring, Cache& cache);
  void settle_hand();
  void rotate_active(Cache& cache);
  void rotate_inactive(Cache& cache);
  template <class Removed>
  Element* force_from(Ring& ring, Cache& cache, const Removed& removed);

  Pool* pool_ = nullptr;
  uint32_t mask_ = 0;
  unsigned scans_ = 0;
  Ring active_;
  Ring inactive_;
  // Where the next look through the inactive list begins: at an element of it, or nowhere.
  uint64_t hand_ = kNowhere;
};

}  // namespace skep::maps
