#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <new>
#include <tuple>
#include <utility>

#include "maps/element_pool.hpp"
#include "maps/huge_pages.hpp"
#include "maps/value_copy.hpp"

// The pool's functions, for those who instantiate it.

namespace skep::maps {

namespace detail {

// A batch is this many elements, or fewer that take this many bytes: what a CPU moves at once between its
// cache and the others. Small enough that a map whose few hot keys are replaced again and again stays in the
// processor's cache.
inline constexpr size_t kBatchBytes = 256 << 10;
inline constexpr uint32_t kBatchElements = 64;

// So many batches are reserved beyond the capacity, eight times as many where they are small: one for each
// epoch of grace, one that is filling and one that is being given out. Then a full map is updated without
// growing the pool.
inline constexpr uint64_t kSpareBatches = EpochClock<HostAtomics>::kGrace + 2;
constexpr uint64_t spare_batches(uint64_t batch_bytes) {
  return batch_bytes <= kBatchBytes ? 8 * kSpareBatches : kSpareBatches;
}

// The x with odd * x == 1 modulo 2^64, by Newton's method: every step doubles the bits that are right.
constexpr uint64_t inverse_of_odd(uint64_t odd) {
  uint64_t x = odd;
  for (int bits = 3; bits < 64; bits *= 2) x *= 2 - odd * x;
  return x;
}

}  // namespace detail

template <class Atomics>
BasicElementPool<Atomics>::BasicElementPool(Clock& clock, const Layout& layout, uint64_t capacity)
    : clock_(clock),
      prefix_(layout.prefix),
      value_offset_(sizeof(Element) + round_up_8(layout.key_size)),
      value_size_(layout.value_size),
      value_stride_(round_up_8(layout.value_size)),
      element_stride_(prefix_ + value_offset_ + (layout.cpu_values == 0 ? value_stride_ : sizeof(CpuValues))),
      stride_shift_(static_cast<unsigned>(std::countr_zero(element_stride_))),
      stride_inverse_(detail::inverse_of_odd(element_stride_ >> stride_shift_)),
      cpu_values_(layout.cpu_values),
      caches_(Mapping::anonymous(sizeof(Cache) * clock.cpus())) {
  const size_t whole = element_stride_ + value_stride_ * cpu_values_;
  batch_ = static_cast<uint32_t>(std::clamp<size_t>(detail::kBatchBytes / whole, 1, detail::kBatchElements));
  // An attempt to advance looks at every CPU.
  advance_interval_ = std::max(batch_, clock.cpus() / 4);
  reserved_ = static_cast<bool>(caches_);
  if (capacity == 0 || !reserved_) return;
  auto chunk = make_chunk(0, capacity + detail::spare_batches(whole * batch_) * batch_);
  reserved_ = chunk != nullptr;
  if (!reserved_) return;
  first_begin_ = chunk->begin;
  first_count_ = chunk->count;
  first_bytes_ = chunk->count * element_stride_;
  // Relaxed: the pool is not shared yet.
  chunks_[0].store(chunk.release(), std::memory_order_relaxed);
}

template <class Atomics>
BasicElementPool<Atomics>::~BasicElementPool() {
  for (Atomic<Chunk*>& slot : chunks_) {
    // Relaxed: the owner of the map has made sure that all users are done.
    const std::unique_ptr<Chunk> gone(slot.load(std::memory_order_relaxed));
  }
}

template <class Atomics>
std::unique_ptr<typename BasicElementPool<Atomics>::Chunk> BasicElementPool<Atomics>::make_chunk(
    uint64_t first, uint64_t count) const {
  // Numbers have 32 bits, and the largest means something else.
  if (count > UINT32_MAX - 1 - first) return nullptr;
  if (count >
      std::numeric_limits<uint64_t>::max() / 2 / (element_stride_ + value_stride_ * (cpu_values_ + 1)))
    return nullptr;
  std::unique_ptr<Chunk> chunk(new (std::nothrow) Chunk);
  if (chunk == nullptr) return nullptr;
  chunk->first = first;
  chunk->count = count;
  chunk->memory = Mapping::anonymous(element_stride_ * count);
  if (!chunk->memory) return nullptr;
  prefer_huge_pages(chunk->memory);
  chunk->begin = chunk->memory.data() + prefix_;
  if (cpu_values_ != 0) {
    constexpr size_t kLinePair = 2 * kCacheLine;
    chunk->cpu_stride = (value_stride_ * count + kLinePair - 1) / kLinePair * kLinePair;
    chunk->rows = Mapping::anonymous(chunk->cpu_stride * cpu_values_);
    if (!chunk->rows) return nullptr;
  }
  return chunk;
}

template <class Atomics>
void BasicElementPool<Atomics>::renew(Cache& cache, unsigned cpu) const {
  ::new (&cache) Cache{};
  cache.generation_ = generation_;
  cache.cpu_ = cpu;
  // A task's cache does not last until the next attempt.
  cache.until_advance_ = cpu == Cache::kTask ? 1 : advance_interval_;
}

template <class Atomics>
auto BasicElementPool<Atomics>::at_in_later(uint32_t index) const -> Element* {
  for (const Atomic<Chunk*>& slot : chunks_) {
    // Acquire: pairs with the release in grow().
    const Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk == nullptr) break;
    if (index - chunk->first < chunk->count)
      return reinterpret_cast<Element*>(chunk->begin + (index - chunk->first) * element_stride_);
  }
  return nullptr;
}

template <class Atomics>
uint32_t BasicElementPool<Atomics>::number_in_later(const Element* element) const {
  for (const Atomic<Chunk*>& slot : chunks_) {
    const Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk == nullptr) break;
    const auto offset = static_cast<size_t>(reinterpret_cast<const std::byte*>(element) - chunk->begin);
    if (offset < chunk->memory.size()) return static_cast<uint32_t>(chunk->first) + index_in(offset) + 1;
  }
  return 0;
}

template <class Atomics>
auto BasicElementPool<Atomics>::acquire_slowly(Cache& cache) -> Element* {
  if (cache.unused_ != cache.unused_end_) return construct_unused(cache);
  if (refill(cache)) return take_free(cache);
  if (take_unused(cache)) return construct_unused(cache);
  clock_.try_advance();
  if (refill(cache)) return take_free(cache);
  do {
    if (take_unused(cache)) return construct_unused(cache);
  } while (grow());
  return nullptr;
}

template <class Atomics>
bool BasicElementPool<Atomics>::refill(Cache& cache) {
  const uint64_t now = clock_.current();
  for (typename Cache::Bag& bag : cache.bags_) {
    if (bag.count != 0 && bag.epoch + Clock::kGrace <= now) free_bag(cache, bag);
  }
  if (cache.free_ != 0 || refill_from_lists(cache)) return true;
  collect_shared_bags(cache.cpu_);
  return refill_from_lists(cache);
}

// Its elements are due: they go to the cache's free ones, or to everybody's when those are many.
template <class Atomics>
void BasicElementPool<Atomics>::free_bag(Cache& cache, typename Cache::Bag& bag) {
  if (cache.free_count_ >= 2 * batch_) {
    push(free_lists_[cache.cpu_ % kFreeLists], bag.first, bag.last);
  } else {
    bag.last->link.store(cache.free_, std::memory_order_relaxed);
    cache.free_ = bag.first;
    cache.free_count_ += bag.count;
  }
  bag.first = 0;
  bag.count = 0;
}

template <class Atomics>
bool BasicElementPool<Atomics>::refill_from_lists(Cache& cache) {
  for (size_t n = 0; n < kFreeLists; ++n) {
    Atomic<uint32_t>& list = free_lists_[(cache.cpu_ + n) % kFreeLists];
    if (list.load(std::memory_order_relaxed) == 0) continue;
    // Acquire: pairs with the releases of push() and put_free(): the links and what the last user left are
    // seen. The list is taken whole, so no link of another's is relied on and nothing can come back in
    // between.
    const uint32_t first = list.exchange(0, std::memory_order_acquire);
    if (first == 0) continue;
    Element* last = at(first);
    uint32_t count = 1;
    uint32_t rest = last->link.load(std::memory_order_relaxed);
    for (; rest != 0 && count < batch_; ++count) {
      last = at(rest);
      rest = last->link.load(std::memory_order_relaxed);
    }
    if (rest != 0) {
      last->link.store(0, std::memory_order_relaxed);
      put_free(cache.cpu_, rest);
    }
    cache.free_ = first;
    cache.free_count_ = count;
    return true;
  }
  return false;
}

template <class Atomics>
void BasicElementPool<Atomics>::push(Atomic<uint32_t>& list, uint32_t first, Element* last) {
  uint32_t head = list.load(std::memory_order_relaxed);
  do {
    last->link.store(head, std::memory_order_relaxed);
    // Release: pairs with the exchanges of refill_from_lists() and collect_shared_bags(). It is no matter
    // whether the head went away and came back: the link is to whatever is the head.
  } while (!list.compare_exchange_weak(head, first, std::memory_order_release, std::memory_order_relaxed));
}

// A list whose end is not known goes where there is none; only if there is one everywhere is its end looked
// for.
template <class Atomics>
void BasicElementPool<Atomics>::put_free(unsigned cpu, uint32_t first) {
  for (size_t n = 0; n < kFreeLists; ++n) {
    uint32_t none = 0;
    // Release: as in push().
    if (free_lists_[(cpu + n) % kFreeLists].compare_exchange_strong(none, first, std::memory_order_release,
                                                                    std::memory_order_relaxed))
      return;
  }
  Element* last = at(first);
  while (const uint32_t next = last->link.load(std::memory_order_relaxed)) last = at(next);
  push(free_lists_[cpu % kFreeLists], first, last);
}

template <class Atomics>
void BasicElementPool<Atomics>::collect_shared_bags(unsigned cpu) {
  // While we are inside a guard the epoch is `now` or will be now + 1 at most, so a bag whose number is
  // congruent to now - 3 .. now - 6 (modulo 8: to now + 5 .. now + 2) holds nothing younger than now -
  // kGrace.
  const uint64_t now = clock_.current();
  for (uint64_t age = Clock::kGrace; age <= kSharedBags - 2; ++age) {
    Atomic<uint32_t>& bag = shared_bags_[(now - age) % kSharedBags];
    if (bag.load(std::memory_order_relaxed) == 0) continue;
    // Acquire: pairs with push(), and continues to the next owner through put_free().
    if (const uint32_t first = bag.exchange(0, std::memory_order_acquire)) put_free(cpu, first);
  }
}

template <class Atomics>
void BasicElementPool<Atomics>::put_aside(typename Cache::Bag& bag) {
  push(shared_bags_[bag.epoch % kSharedBags], bag.first, bag.last);
  bag.first = 0;
  bag.count = 0;
}

template <class Atomics>
void BasicElementPool<Atomics>::retire(Cache& cache, Element* element) {
  const uint64_t epoch = clock_.current();
  typename Cache::Bag& bag = cache.bags_[epoch % Cache::kBags];
  if (bag.epoch != epoch) {
    // As many epochs old as there are bags, or older.
    if (bag.count != 0) free_bag(cache, bag);
    bag.epoch = epoch;
  }
  // Relaxed: the bag is ours; whoever gets the element from it does so by an acquire.
  element->link.store(bag.first, std::memory_order_relaxed);
  if (bag.count == 0) bag.last = element;
  bag.first = number(element);
  if (++bag.count == Cache::kBagBatches * batch_) put_aside(bag);
  if (--cache.until_advance_ == 0) {
    cache.until_advance_ = advance_interval_;
    clock_.try_advance();
  }
}

template <class Atomics>
BasicElementPool<Atomics>::TaskCache::~TaskCache() {
  for (typename Cache::Bag& bag : cache_.bags_) {
    if (bag.count != 0) pool_.put_aside(bag);
  }
  if (cache_.free_ != 0) pool_.put_free(Cache::kTask, cache_.free_);
}

// A batch of numbers, from the first chunk that has some left. One for a task, who could not give back
// others.
template <class Atomics>
bool BasicElementPool<Atomics>::take_unused(Cache& cache) {
  const uint64_t wanted = cache.cpu_ == Cache::kTask ? 1 : batch_;
  for (Atomic<Chunk*>& slot : chunks_) {
    // Acquire: pairs with the release in grow(); the chunk is seen complete.
    Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk == nullptr) break;
    // Relaxed: the counter gives out numbers and nothing else. The look before the addition keeps it from
    // overflowing.
    if (chunk->used.load(std::memory_order_relaxed) >= chunk->count) continue;
    const uint64_t index = chunk->used.fetch_add(wanted, std::memory_order_relaxed);
    if (index >= chunk->count) continue;
    cache.unused_chunk_ = chunk;
    cache.unused_ = index;
    cache.unused_end_ = std::min(index + wanted, chunk->count);
    return true;
  }
  return false;
}

template <class Atomics>
auto BasicElementPool<Atomics>::construct_unused(Cache& cache) const -> Element* {
  const uint64_t index = cache.unused_++;
  Chunk& chunk = *cache.unused_chunk_;
  auto* element = ::new (chunk.begin + element_stride_ * index) Element;
  // Relaxed: nobody else sees the element.
  element->behind.store(index < chunk.dirty ? 0 : kZero, std::memory_order_relaxed);
  if (cpu_values_ != 0) {
    ::new (value(element)) CpuValues{chunk.rows.data() + value_stride_ * index, chunk.cpu_stride};
  }
  return element;
}

template <class Atomics>
bool BasicElementPool<Atomics>::grow() {
  uint64_t total = 0;
  for (Atomic<Chunk*>& slot : chunks_) {
    Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk != nullptr) {
      total += chunk->count;
      continue;
    }
    auto fresh = make_chunk(total, std::max(kMinChunk, total));
    // Twice as much may be too much where a little is still to be had.
    if (fresh == nullptr) fresh = make_chunk(total, kMinChunk);
    if (fresh == nullptr) return false;
    // Release: pairs with the acquires of those who look for chunks. When another thread was first, its chunk
    // serves.
    if (slot.compare_exchange_strong(chunk, fresh.get(), std::memory_order_release,
                                     std::memory_order_relaxed)) {
      std::ignore = fresh.release();
    }
    return true;
  }
  return false;
}

template <class Atomics>
MemoryRange BasicElementPool<Atomics>::value_containing(uintptr_t address) const {
  for (const Atomic<Chunk*>& slot : chunks_) {
    const Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk == nullptr) break;
    const Mapping& home = cpu_values_ == 0 ? chunk->memory : chunk->rows;
    const auto begin = reinterpret_cast<uintptr_t>(home.data());
    if (address < begin || address - begin >= home.size()) continue;
    size_t offset = address - begin;
    size_t stride = element_stride_;
    size_t start = prefix_ + value_offset_;
    if (cpu_values_ != 0) {
      offset %= chunk->cpu_stride;
      stride = value_stride_;
      start = 0;
    }
    const size_t within = offset % stride;
    if (offset / stride >= chunk->count || within < start || within - start >= value_size_) return {};
    return {address - (within - start), value_size_};
  }
  return {};
}

template <class Atomics>
template <class Visit>
void BasicElementPool<Atomics>::clear(const Visit& visit) {
  // Relaxed everywhere, as nobody else is there.
  for (Atomic<Chunk*>& slot : chunks_) {
    Chunk* chunk = slot.load(std::memory_order_relaxed);
    if (chunk == nullptr) break;
    const uint64_t used = std::min(chunk->used.load(std::memory_order_relaxed), chunk->count);
    for (uint64_t index = 0; index < used; ++index)
      visit(reinterpret_cast<Element*>(chunk->begin + element_stride_ * index));
    chunk->dirty = std::max(chunk->dirty, used);
    chunk->used.store(0, std::memory_order_relaxed);
  }
  for (Atomic<uint32_t>& list : free_lists_) list.store(0, std::memory_order_relaxed);
  for (Atomic<uint32_t>& bag : shared_bags_) bag.store(0, std::memory_order_relaxed);
  ++generation_;
}

template <class Atomics>
size_t BasicElementPool<Atomics>::chunks() const {
  return static_cast<size_t>(std::count_if(chunks_.begin(), chunks_.end(), [](const Atomic<Chunk*>& slot) {
    return slot.load(std::memory_order_relaxed) != nullptr;
  }));
}

}  // namespace skep::maps
