#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "maps/atomics.hpp"
#include "maps/epoch_clock.hpp"
#include "maps/map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// An element of a keyed map. The key follows the header, and the value follows the key or, for a per-CPU map,
// lies in the chunk's per-CPU rows. Made when it is first given out, and never destroyed: only handed round.
//
// The chains are made by hand, not with Boost.Intrusive, because readers walk them while writers change them:
// the links must be atomic.
template <class Atomics>
struct BasicElement {
  // The next element of the chain with the marks of HashTable in the lowest bits. Left as it is when the
  // element is unlinked: who stands on it must find the way out.
  typename Atomics::template Atomic<uintptr_t> next{0};
  // Of an element that replaced another: what stood behind the two then. A number of the pool.
  typename Atomics::template Atomic<uint32_t> behind{0};
  // The next element in a list of the pool, hence not `next`. A number of the pool.
  typename Atomics::template Atomic<uint32_t> link{0};
};

// Where the values of a per-CPU element are: rows of all elements' values, one row per CPU.
struct CpuValues {
  std::byte* first = nullptr;
  size_t stride = 0;  // from one CPU's value to the next CPU's
};

// Storage of elements, all of one size, given out and taken back by many threads at once. Each CPU has a
// cache of elements that are free and of elements that wait for their epoch, and touches what is shared once
// in a batch only.
//
// Guarantees
//  - Memory is zero when it is given out for the first time, and committed no earlier, page by page.
//  - A retired element is given out again only after every participant that could reach it has left.
//  - While the host has memory acquire() succeeds, also when all that is free still waits for its epoch or
//    lies in caches of other CPUs: then the pool grows by a chunk. So the pool never bounds how many elements
//    a map holds. Beyond the elements in use it has what was retired in the last epochs (as much as is
//    replaced and deleted while somebody stays inside), and in each cache up to kBagBatches batches per bag,
//    as many more that are free, and one that was never used.
//  - No operation waits for another thread. One that is stopped keeps its cache's elements from the others.
//  - Addresses stay mapped while the pool lives.
// All functions but the constructor are called inside a guard of the clock, except value_containing() and
// clear(). What threads contend for lies on lines of its own, hence the padding.
template <class Atomics>
class BasicElementPool {
 public:
  using Element = BasicElement<Atomics>;
  using Clock = EpochClock<Atomics>;
  template <class T>
  using Atomic = typename Atomics::template Atomic<T>;

  struct Layout {
    uint32_t key_size = 0;
    uint32_t value_size = 0;
    unsigned cpu_values = 0;  // values per element in per-CPU rows; 0: one value, beside the key
    uint32_t prefix = 0;      // bytes in front of each element that are the pool's user's; a multiple of 8
  };

 private:
  struct Chunk {
    Mapping memory;
    std::byte* begin = nullptr;  // the first element
    Mapping rows;                // per-CPU values
    uint64_t first = 0;
    uint64_t count = 0;
    size_t cpu_stride = 0;
    uint64_t dirty = 0;  // elements below were given out before the last clear()
    Atomic<uint64_t> used{0};
  };

 public:
  // Elements of one CPU, or of one operation of a task, in lists by `link`. Used by one thread at a time. The
  // zeroed memory that caches of CPUs begin as is of no generation.
  class alignas(2 * kCacheLine) Cache {
   public:
    static constexpr unsigned kTask = UINT32_MAX;
    // The CPU it belongs to, or kTask.
    unsigned cpu() const { return cpu_; }

   private:
    friend BasicElementPool;
    // Elements by the epoch of their retirement. With more than kGrace of them a bag that is needed again is
    // due.
    static constexpr size_t kBags = 4;
    // A bag with so many batches is handed to the others.
    static constexpr uint32_t kBagBatches = 8;
    static_assert(kBags > Clock::kGrace);
    struct Bag {
      uint64_t epoch;
      Element* last;
      uint32_t first;
      uint32_t count;
    };

    uint64_t generation_;
    unsigned cpu_;
    uint32_t free_;
    uint32_t free_count_;
    uint32_t until_advance_;
    // Numbers of a chunk that were never given out: [unused_, unused_end_).
    Chunk* unused_chunk_;
    uint64_t unused_;
    uint64_t unused_end_;
    std::array<Bag, kBags> bags_;
  };
  // The cache of a task's operation: what is left over goes back to the pool.
  class TaskCache;

  // Memory for `capacity` elements is reserved at once; 0 reserves as elements are needed. Check reserved()
  // afterwards.
  BasicElementPool(Clock& clock, const Layout& layout, uint64_t capacity);
  BasicElementPool(const BasicElementPool&) = delete;
  BasicElementPool& operator=(const BasicElementPool&) = delete;
  // Nobody uses the pool any more.
  ~BasicElementPool();

  // Whether the memory asked for in the constructor was there.
  bool reserved() const { return reserved_; }

  // The cache of a CPU, for the thread that drives it.
  Cache& cache(unsigned cpu) {
    Cache& cache = caches()[cpu];
    if (cache.generation_ != generation_) [[unlikely]]
      renew(cache, cpu);
    return cache;
  }

  // An element that nobody else can see, with the contents it had; nullptr when there is no memory.
  Element* acquire(Cache& cache) {
    if (cache.free_ == 0) [[unlikely]]
      return acquire_slowly(cache);
    return take_free(cache);
  }
  // Takes back an element that nobody else has seen.
  void give_back(Cache& cache, Element* element) const {
    element->link.store(cache.free_, std::memory_order_relaxed);
    cache.free_ = number(element);
    ++cache.free_count_;
  }
  // Takes back an element after it was unlinked; readers may still be on it.
  void retire(Cache& cache, Element* element);

  // Of an element just acquired: whether its values are zero because it was never used; until used() says
  // that they are not.
  static bool is_zero(const Element* element) {
    return element->behind.load(std::memory_order_relaxed) == kZero;
  }
  static void used(Element* element) { element->behind.store(0, std::memory_order_relaxed); }

  // Elements by number, from 1. Callable for elements that were given out.
  Element* at(uint32_t number) const {
    const uint32_t index = number - 1;
    if (index < first_count_) [[likely]]
      return reinterpret_cast<Element*>(first_begin_ + index * element_stride_);
    return at_in_later(index);
  }
  uint32_t number(const Element* element) const {
    const size_t offset = static_cast<size_t>(reinterpret_cast<const std::byte*>(element) - first_begin_);
    if (offset < first_bytes_) [[likely]]
      return index_in(offset) + 1;
    return number_in_later(element);
  }

  std::byte* key(Element* element) const { return reinterpret_cast<std::byte*>(element) + sizeof(Element); }
  const std::byte* key(const Element* element) const {
    return reinterpret_cast<const std::byte*>(element) + sizeof(Element);
  }
  std::byte* value(Element* element) const { return reinterpret_cast<std::byte*>(element) + value_offset_; }
  std::byte* value(const Element* element, unsigned cpu) const {
    const auto* values =
        reinterpret_cast<const CpuValues*>(reinterpret_cast<const std::byte*>(element) + value_offset_);
    return values->first + values->stride * cpu;
  }
  // The key of the element that has the value; not of per-CPU values.
  const std::byte* key_of_value(const void* value) const {
    return static_cast<const std::byte*>(value) - value_offset_ + sizeof(Element);
  }
  // Bytes of a value with its padding.
  size_t value_stride() const { return value_stride_; }

  // The value that holds the address, be its element in use or not. Callable at any time.
  MemoryRange value_containing(uintptr_t address) const;

  // Calls visit(element) for every element that was given out since the last clear(), in use or not; then all
  // are free, as at the beginning. Nobody else may be using the pool. Costs by the elements visited.
  template <class Visit>
  void clear(const Visit& visit);

  // How many chunks there are; the pool's growth, for tests.
  size_t chunks() const;

 private:
  // In `behind` of an element that was never used.
  static constexpr uint32_t kZero = UINT32_MAX;
  // Chunks double in size, so this many are enough for any address space.
  static constexpr size_t kMaxChunks = 48;
  static constexpr uint64_t kMinChunk = 16;
  // A power of two of lists for retired elements that caches had no room for, by epoch.
  static constexpr size_t kSharedBags = 8;
  // Lists of free elements that no cache holds: several, since each is taken whole and then divided.
  static constexpr size_t kFreeLists = 16;

  Cache* caches() const { return reinterpret_cast<Cache*>(caches_.data()); }
  void renew(Cache& cache, unsigned cpu) const;

  uint32_t index_in(size_t offset) const {
    // The offset is a multiple of the stride, so the quotient is a product modulo 2^64.
    return static_cast<uint32_t>((offset >> stride_shift_) * stride_inverse_);
  }
  Element* at_in_later(uint32_t index) const;
  uint32_t number_in_later(const Element* element) const;

  Element* take_free(Cache& cache) const {
    Element* element = at(cache.free_);
    // Relaxed: the list is ours.
    cache.free_ = element->link.load(std::memory_order_relaxed);
    if (cache.free_ != 0) __builtin_prefetch(at(cache.free_), 1);
    --cache.free_count_;
    return element;
  }
  Element* acquire_slowly(Cache& cache);
  bool refill(Cache& cache);
  void free_bag(Cache& cache, typename Cache::Bag& bag);
  bool refill_from_lists(Cache& cache);
  void collect_shared_bags(unsigned cpu);
  void push(Atomic<uint32_t>& list, uint32_t first, Element* last);
  void put_free(unsigned cpu, uint32_t first);
  void put_aside(typename Cache::Bag& bag);

  bool take_unused(Cache& cache);
  Element* construct_unused(Cache& cache) const;
  bool grow();
  std::unique_ptr<Chunk> make_chunk(uint64_t first, uint64_t count) const;

  Clock& clock_;
  size_t prefix_;
  size_t value_offset_;
  size_t value_size_;
  size_t value_stride_;
  size_t element_stride_;
  unsigned stride_shift_;
  uint64_t stride_inverse_;
  unsigned cpu_values_;
  uint32_t batch_;
  uint32_t advance_interval_;
  uint64_t generation_ = 1;  // of the caches; clear() makes them begin anew
  bool reserved_ = true;

  // The first chunk, where nearly always everything is.
  std::byte* first_begin_ = nullptr;
  uint64_t first_count_ = 0;
  size_t first_bytes_ = 0;

  Mapping caches_;
  std::array<Atomic<Chunk*>, kMaxChunks> chunks_{};
  alignas(kCacheLine) std::array<Atomic<uint32_t>, kFreeLists> free_lists_{};
  alignas(kCacheLine) std::array<Atomic<uint32_t>, kSharedBags> shared_bags_{};
};

template <class Atomics>
class BasicElementPool<Atomics>::TaskCache {
 public:
  explicit TaskCache(BasicElementPool& pool) : pool_(pool) { pool.renew(cache_, Cache::kTask); }
  TaskCache(const TaskCache&) = delete;
  TaskCache& operator=(const TaskCache&) = delete;
  ~TaskCache();
  operator Cache&() { return cache_; }

 private:
  BasicElementPool& pool_;
  Cache cache_;
};

using ElementPool = BasicElementPool<HostAtomics>;
using Element = ElementPool::Element;
extern template class BasicElementPool<HostAtomics>;

}  // namespace skep::maps
