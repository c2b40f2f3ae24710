#pragma once

#include <linux/bpf.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "maps/element_pool.hpp"
#include "maps/key_hash.hpp"
#include "maps/mapping.hpp"
#include "maps/places.hpp"

namespace skep::maps {

// Chained hash table over the elements of a pool, and the number of its elements.
//
// Guarantees
//  - find() and walks are wait-free: they take no more steps than the chain had elements when they began.
//  - What changes the table is lock-free: a change is tried again only because another thread has changed the
//    same chain. A thread stopped anywhere stops nobody.
//  - Each operation happens at one moment, a successful compare-and-exchange: an insertion at that of the
//    chain's head, a replacement and a deletion at that of the old element's `next`. So a key is never seen
//    absent while it is replaced, and of several threads that insert a key one does.
//  - At most max_entries elements, and an insertion is refused only if that many are there or were about to
//  be
//    inserted, or deleted, by operations under way (Places).
//
// How it works. An element is in the table from the time a link from the head leads to it until its `next` is
// marked; the mark says why, and unlinking it afterwards is anybody's work who comes by to change the chain.
//  - kDeleted: `next` still leads to what stood behind the element.
//  - kReplaced: `next` leads to the element in its place, whose own `next` led to what stood behind the old
//    one; it says for ever what that was (`behind`).
// New keys are put in front: whoever has found a key absent in the chain that begins with head element H may
// insert it if the head is H still. For in between nothing can have come behind H but replacements, and what
// came before H is gone. (H cannot have come back as another element while we are inside our guard.)
//
// Why readers may follow marked elements. Claim: every element that a reader stands on was linked (on the
// chain from the head) at some time since the reader began. It holds at the head; let X be such an element,
// linked at time t, and Y what the reader finds behind it. If X is unmarked when its `next` is read, X is
// linked then, and so is Y. If it was marked at t already, its way out was Y at t, and Y was linked then too.
// If it was marked since, Y was behind it at that moment. So memory is safe, as nothing linked since our
// guard began is reused; and a key that was there all the time is not passed by.
//
// Why find() may return the element in a replaced one's place without looking at its mark. Writers mark only
// elements that they have reached through unmarked ones (locate() unlinks the others first). While the
// replaced element O is linked its successor N is reached through O alone, so N is not marked before O is
// unlinked. The reader saw O linked at some time since it began, or O was replaced since: either way there
// was a moment since then at which N was in the table.
//
// Everything is called inside a guard of the pool's clock, except the constructor and clear().
template <class Atomics>
class BasicHashTable {
 public:
  using Pool = BasicElementPool<Atomics>;
  using Element = typename Pool::Element;
  using Cache = typename Pool::Cache;
  template <class T>
  using Atomic = typename Atomics::template Atomic<T>;

  // `buckets` is a power of two. Check valid() afterwards.
  BasicHashTable(Pool& pool, unsigned cpus, uint32_t key_size, uint32_t max_entries, uint64_t buckets,
                 uint32_t seed);

  bool valid() const { return static_cast<bool>(heads_) && places_.valid(); }
  uint64_t buckets() const { return mask_ + 1; }
  // Exact when nobody changes the table meanwhile.
  uint32_t size() const { return places_.taken(); }

  uint64_t bucket_of(const void* key) const { return hash_key(key, key_size_, seed_) & mask_; }

  Element* find(const void* key) const { return find(key, key_size_); }
  // The same for keys whose size the caller knows.
  template <uint32_t kKeySize>
  Element* find_sized(const void* key) const {
    return find(key, kKeySize);
  }

  // For walks through the whole table: fetches what they come to a few buckets later, the first elements of
  // chains before the second and the third ones, which only these lead to.
  void prefetch_for(uint64_t bucket) const {
    constexpr uint64_t kAhead = 8;
    if (bucket + 3 * kAhead > mask_) return;
    prefetch_place(bucket + 3 * kAhead, 0);
    prefetch_place(bucket + 2 * kAhead, 1);
    prefetch_place(bucket + kAhead, 2);
  }

  // Walks through a chain: what is in the table at the front of it or behind an element, which may be gone.
  // An element that is replaced between two steps is met once, as the old one or the new one.
  Element* first(uint64_t bucket) const {
    // Acquire: pairs with the releases of those who change the chain; elements are seen complete.
    return living(to_element(head(bucket).load(std::memory_order_acquire)));
  }
  Element* after(const Element* element) const {
    return living(way_out(element->next.load(std::memory_order_acquire)));
  }

  // Puts in a new element for the key, or one in place of the old one. fill(element) writes its value. 0, or
  // as the kernel: -EEXIST and -ENOENT by the flags (BPF_ANY, BPF_NOEXIST, BPF_EXIST), -E2BIG, -ENOMEM.
  // replaced(element) is called once for the old one, which stays as it is until the guard ends.
  template <class Fill, class Replaced>
  int put(const void* key, uint64_t flags, Cache& cache, const Fill& fill, const Replaced& replaced);
  template <class Fill>
  int put(const void* key, uint64_t flags, Cache& cache, const Fill& fill) {
    return put(key, flags, cache, fill, [](Element*) {});
  }
  // The same, but an element that is there stays and change(element) is called.
  template <class Change, class Fill>
  int put_in_place(const void* key, uint64_t flags, Cache& cache, const Change& change, const Fill& fill);
  // Deletes the key. The element that was there, which stays as it is until the guard ends, or nullptr.
  Element* take(const void* key, Cache& cache);
  // Deletes that element, if it is in the table.
  bool take(Element* element, Cache& cache);

  // For a user who counts places and retires elements itself, and calls nothing else that changes the table.
  // What has left the table is the caller's of that operation, and is in nobody's way when the call returns.
  //
  // Puts in an element that is complete, as put() does; `replaced` becomes the one in whose place it is.
  int publish(Element* fresh, uint64_t flags, Cache& cache, Element*& replaced);
  // Deletes the key: what was there, or nullptr.
  Element* remove(const void* key, Cache& cache);
  // Deletes this very element, which was published some time; false: it was gone, or another thread was
  // first.
  bool remove(Element* element, Cache& cache);
  // Whether an element that was published has left the table. Relaxed: false is a hint.
  static bool has_left(const Element* element) {
    return (element->next.load(std::memory_order_relaxed) & kMarks) != 0;
  }
  // For those who are going to change the key's chain.
  void prefetch_for_change(const void* key) const { __builtin_prefetch(&head(bucket_of(key)), 1); }

  // Empties the table. Nobody else may be using it, and nothing that was found in it may be used any more.
  // Costs by what was put in since the last time, not by max_entries. Calls visit(element) for every element
  // that was ever in use since then, in the table or not.
  template <class Visit>
  void clear(const Visit& visit);
  void clear();

 private:
  static constexpr uintptr_t kDeleted = 1;
  static constexpr uintptr_t kReplaced = 2;
  static constexpr uintptr_t kMarks = kDeleted | kReplaced;

  // What becomes of elements that have been unlinked: retired by whoever did it, or left to whoever marked
  // them.
  enum class Dead : bool { kRetired, kLeft };

  // What a writer has found out about a key.
  struct Place {
    Atomic<uintptr_t>* head = nullptr;
    Element* first = nullptr;           // in the head when the search began: for insertions
    Atomic<uintptr_t>* link = nullptr;  // leads to the element
    Element* element = nullptr;         // nullptr: the key is not there
    Element* next = nullptr;            // behind the element
  };

  // An element for the key before it is published.
  class Fresh;

  // Acquire, as in first(): the element is looked into.
  void prefetch_place(uint64_t bucket, unsigned place) const {
    const Element* element = to_element(head(bucket).load(std::memory_order_acquire));
    for (; place != 0 && element != nullptr; --place)
      element = to_element(element->next.load(std::memory_order_acquire));
    __builtin_prefetch(element);
  }

  static Element* to_element(uintptr_t word) { return reinterpret_cast<Element*>(word & ~kMarks); }
  static uintptr_t to_word(const Element* element) { return reinterpret_cast<uintptr_t>(element); }
  Atomic<uintptr_t>& head(uint64_t bucket) const {
    return reinterpret_cast<Atomic<uintptr_t>*>(heads_.data())[bucket];
  }

  // What stands behind an element whose `next` is the word. Relaxed: `behind` was written before the element
  // was published, which whoever read the word has acquired.
  Element* way_out(uintptr_t word) const {
    Element* next = to_element(word);
    if ((word & kReplaced) == 0) return next;
    const uint32_t behind = next->behind.load(std::memory_order_relaxed);
    return behind == 0 ? nullptr : pool_.at(behind);
  }
  // The element, or the one in its place, or the next one that is in the table.
  Element* living(Element* element) const {
    while (element != nullptr) {
      const uintptr_t next = element->next.load(std::memory_order_acquire);
      if ((next & kMarks) == 0) return element;
      if ((next & kReplaced) != 0) return to_element(next);
      element = to_element(next);
    }
    return nullptr;
  }

  [[gnu::always_inline]] Element* find(const void* key, uint32_t key_size) const {
    const uint64_t bucket = hash_key(key, key_size, seed_) & mask_;
    // Acquire, here and below: pairs with the releases of those who change the chain.
    Element* element = to_element(head(bucket).load(std::memory_order_acquire));
    while (element != nullptr) {
      const uintptr_t next = element->next.load(std::memory_order_acquire);
      if (same_key(pool_.key(element), key, key_size)) {
        if ((next & kMarks) == 0) [[likely]]
          return element;
        // Behind it the key cannot be: it was absent from there when this element was put in.
        return (next & kReplaced) != 0 ? to_element(next) : nullptr;
      }
      element = (next & kMarks) == 0 ? reinterpret_cast<Element*>(next) : way_out(next);
    }
    return nullptr;
  }

  template <Dead kDead>
  Place locate(const void* key, Cache& cache) {
    return locate_in<kDead>(head(bucket_of(key)), key, cache);
  }
  template <Dead kDead>
  Place locate_in(Atomic<uintptr_t>& head, const void* key, Cache& cache);
  bool insert(const Place& place, Element* element);
  template <Dead kDead>
  bool replace(const Place& place, Element* element, const void* key, Cache& cache);
  template <Dead kDead>
  bool remove_at(const Place& place, const void* key, Cache& cache);
  template <Dead kDead>
  void unlink(const Place& place, Element* successor, const void* key, Cache& cache);

  Pool& pool_;
  uint32_t key_size_;
  uint64_t mask_;
  uint64_t seed_;
  Mapping heads_;
  Places<Atomics> places_;
};

using HashTable = BasicHashTable<HostAtomics>;
extern template class BasicHashTable<HostAtomics>;

}  // namespace skep::maps
