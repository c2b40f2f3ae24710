#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "maps/lru_list.hpp"

namespace skep::maps {

// A hash table that makes room for new keys by letting go of those that were used least recently, as the
// kernel's does (kernel/bpf/bpf_lru_list.c, hashtab.c): a single thread sees the same keys survive.
//
// A new element first takes a place. There are max_entries, free ones are counts: of each CPU, and of all. An
// element that is new is pending with its CPU. When a CPU has no free place left it gives its pending
// elements to the lists that all share, takes a batch of places from the free ones, and for those that are
// missing lets the oldest elements go. Only if nothing is left there it takes from what other CPUs have, and
// their pending elements. An LRU with a list for each CPU (BPF_F_NO_COMMON_LRU) divides the places between
// the CPUs, and each has lists of its own.
//
// Guarantees
//  - At most max_entries elements. Places are counted exactly: one is with each element from before it is
//    published until it has left the table, and they change hands by atomic operations only.
//  - A new key is refused (-ENOMEM) only if every place was found with operations under way.
//  - Lookups see nothing of all this but one byte of the element.
//  - Each operation on the table happens at one moment, and so does an eviction: it is a deletion of exactly
//    the element that was selected. A key vanishes only while an operation that may need room is under way.
//  - A thread that is stopped anywhere stops nobody. The lists do have locks, one of each CPU and one of the
//    shared lists, which is taken once in a batch. But they protect an estimate of which elements are old,
//    not the contents of the map: who does not get a lock within a few turns goes on without. A new element
//    is then left on a stack (`left_over`) for whoever has the lock next. One that has left the table stays
//    in its list until a scan meets it: memory is reused later, places at once. Places come from counts,
//    which have no locks; if there is none, and the lists cannot be had, the next element that the table
//    itself has is let go (evict_any()), be it young or old.
//
// What is retired. An element that has left the table is in the hands of the one thread that deleted,
// replaced or evicted it. It takes it out of its list, at once or with others later, or leaves it there; see
// LruNode::ends.
//
// CPUs are those of caches; what a task does is done for CPU 0, as by a thread that stays there.
// All functions but the constructor are called inside a guard of the pool's clock, except clear() and size().
template <class Atomics>
class BasicLru {
 public:
  using List = BasicLruList<Atomics>;
  using Table = typename List::Table;
  using Pool = typename List::Pool;
  using Element = typename List::Element;
  using Cache = typename List::Cache;
  using Node = typename List::Node;

  // Bytes that the pool's elements have in front of them.
  static constexpr uint32_t kPrefix = sizeof(Node);
  // What is in the pool beyond max_entries, because it has left the table and not yet its list.
  static uint64_t spare_elements(unsigned cpus, uint32_t max_entries, bool list_per_cpu);

  // Check valid() afterwards. With a list for each CPU max_entries is a multiple of their number.
  BasicLru(Pool& pool, Table& table, unsigned cpus, uint32_t key_size, uint32_t max_entries,
           bool list_per_cpu);

  bool valid() const { return static_cast<bool>(locals_) && static_cast<bool>(rings_) && lists_ != nullptr; }
  // Elements in the table. Exact when nobody changes it meanwhile.
  uint32_t size() const;

  // Marks what a program has looked up as used.
  static void reference(Element* element) { List::node(element).reference(); }

  // Puts in a new element for the key, or one in place of the old one. As BasicHashTable::put(), but for
  // room: it takes a place in any case, as the kernel does, so elements may go although the key is there or
  // the flags refuse it; even the key's own. gone(element) is called for each that goes.
  template <class Fill, class Gone>
  int put(const void* key, uint64_t flags, Cache& cache, const Fill& fill, const Gone& gone);
  // The same, but an element that is there stays and change(element) is called. With BPF_EXIST nothing goes.
  template <class Change, class Fill, class Gone>
  int put_in_place(const void* key, uint64_t flags, Cache& cache, const Change& change, const Fill& fill,
                   const Gone& gone);
  // Deletes the key. The element that was there, which stays as it is until the guard ends, or nullptr.
  Element* take(const void* key, Cache& cache);

  // As the table's clear(), which it calls. Nobody else may be using the map.
  void clear();

 private:
  template <class T>
  using Atomic = typename Atomics::template Atomic<T>;

  // The kernel's numbers.
  static constexpr uint32_t kBatch = 128;           // LOCAL_FREE_TARGET, LOCAL_NR_SCANS
  static constexpr uint32_t kBatchPerCpu = 4;       // PERCPU_FREE_TARGET, PERCPU_NR_SCANS
  static constexpr uint32_t kPending = 2 * kBatch;  // twice what there can be, so that gaps are closed seldom
  static constexpr uint32_t kGone = kBatch / 2;
  static constexpr unsigned kNoPlace = UINT32_MAX;

  // Who finds it taken looks again a few times and then does without.
  class Lock {
   public:
    bool take();
    bool try_take() {
      // Acquire: pairs with the release of give().
      return taken_.load(std::memory_order_relaxed) == 0 &&
             taken_.exchange(1, std::memory_order_acquire) == 0;
    }
    void give() { taken_.store(0, std::memory_order_release); }

   private:
    Atomic<uint32_t> taken_{0};
  };

  // Of a CPU. The zeroed memory that they begin as is right.
  struct alignas(2 * kCacheLine) Local {
    Lock lock;
    // Counts of places, which change hands by exchanges of one word, so none is lost or there twice. Release
    // to give and acquire to take: who sees the new element in the table sees that the one before it has
    // left.
    Atomic<uint32_t> free{0};      // its own
    Atomic<uint32_t> returned{0};  // free for all, when somebody comes to look for them
    // Elements that have come into no list for want of a lock, by `link`, the newest first.
    Atomic<uint32_t> left_over{0};
    Atomic<uint32_t> next_victim{0};  // the CPU to take from next
    // Under the lock. Elements by their numbers.
    uint32_t pending_count;
    uint32_t gone_count;
    std::array<uint32_t, kPending> pending;  // from the oldest
    std::array<uint32_t, kGone> gone;        // left the table, but not the shared lists
  };

  Local& local(unsigned cpu) { return reinterpret_cast<Local*>(locals_.data())[cpu]; }
  const Local& local(unsigned cpu) const { return reinterpret_cast<const Local*>(locals_.data())[cpu]; }
  static unsigned cpu_of(const Cache& cache) { return cache.cpu() == Cache::kTask ? 0 : cache.cpu(); }
  static Node& node(Element* element) { return List::node(element); }

  static bool take_from(Atomic<uint32_t>& count);
  static void give_to(Atomic<uint32_t>& count, uint32_t places) {
    count.fetch_add(places, std::memory_order_release);
  }

  // The CPU whose place it is, or kNoPlace.
  template <class Gone>
  unsigned take_place(unsigned cpu, Cache& cache, const Gone& gone);
  template <class Gone>
  bool take_common(unsigned cpu, Cache& cache, const Gone& gone);
  template <class Gone>
  bool take_of_cpu(unsigned cpu, Cache& cache, const Gone& gone);
  template <class Gone>
  void refill(Local& local, Cache& cache, const Gone& gone);
  template <class Gone>
  bool force(List& list, Cache& cache, const Gone& gone);
  template <class Gone>
  uint32_t remove_selected(std::span<Element*> selected, Cache& cache, const Gone& gone);
  template <class Gone>
  bool steal(unsigned cpu, Cache& cache, const Gone& gone);
  template <class Gone>
  bool steal_pending(Local& from, Cache& cache, const Gone& gone);
  unsigned take_anywhere(unsigned cpu);
  template <class Gone>
  unsigned evict_any(Cache& cache, const Gone& gone);
  void give_place(unsigned home) { give_to(local(home).free, 1); }

  template <class Fill>
  Element* make(const void* key, unsigned home, Cache& cache, const Fill& fill);
  // Whether it is, or has just been, in the lists that all share.
  static bool is_shared(Element* element) {
    return List::is_listed(node(element).position.load(std::memory_order_relaxed));
  }
  void enlist(Element* fresh, Element* old, unsigned home, unsigned cpu, Cache& cache);
  void let_go(Element* element, unsigned cpu, Cache& cache);
  void add_pending(Local& local, Element* element, Cache& cache);
  void add_gone(Local& local, Element* element, Cache& cache);
  void leave_over(Local& local, Element* element);
  void close_pending(Local& local, Cache& cache);
  void drain_gone(Local& local, Cache& cache);
  void drain_pending(Local& local, Cache& cache);
  void drain_left_over(Local& local, List& list, Cache& cache);
  void end(Element* element, Cache& cache) { List::end(pool_, element, cache); }
  void mark_used(unsigned cpu);

  Pool& pool_;
  Table& table_;
  uint32_t key_size_;
  uint32_t max_entries_;
  unsigned cpus_;
  bool list_per_cpu_;
  uint32_t batch_;  // places taken at once
  uint32_t pending_limit_;
  uint32_t gone_limit_;
  Mapping locals_;
  Mapping rings_;
  std::unique_ptr<List[]> lists_;  // one, or one of each CPU
  // CPUs from this number on have never taken a place.
  alignas(kCacheLine) Atomic<uint32_t> used_{0};
  Atomic<uint32_t> hand_{0};       // the bucket that evict_any() looks into next
  alignas(kCacheLine) Lock lock_;  // of the shared lists
  Atomic<uint32_t> free_{0};       // places that no CPU has
};

using Lru = BasicLru<HostAtomics>;
extern template class BasicLruList<HostAtomics>;
extern template class BasicLru<HostAtomics>;

}  // namespace skep::maps
