#include "maps/element_pool.hpp"

#include <algorithm>
#include <limits>
#include <new>
#include <tuple>

#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

// Elements are recycled when this many bytes of them wait, though fresh ones are left: a map whose few hot
// keys are replaced again and again stays in the cache, and does not commit all the memory it has reserved.
constexpr size_t kRecycleBytes = 256 << 10;
constexpr uint32_t kRecycleElements = 64;

// So many times that number is reserved beyond the capacity: a batch for each epoch of grace, one that is
// filling and one that is being given out. Then a full map is updated without looking for free elements each
// time.
constexpr uint64_t kSpareBatches = EpochDomain::kGrace + 2;

}  // namespace

ElementPool::ElementPool(EpochDomain& epochs, const Layout& layout, uint64_t capacity)
    : epochs_(epochs),
      value_offset_(sizeof(Element) + round_up_8(layout.key_size)),
      value_size_(layout.value_size),
      value_stride_(round_up_8(layout.value_size)),
      element_stride_(value_offset_ + (layout.cpu_values == 0 ? value_stride_ : sizeof(CpuValues))),
      cpu_values_(layout.cpu_values) {
  const size_t whole = element_stride_ + value_stride_ * cpu_values_;
  recycle_threshold_ = static_cast<uint32_t>(std::clamp<size_t>(kRecycleBytes / whole, 1, kRecycleElements));
  if (capacity != 0) {
    auto chunk = make_chunk(capacity + kSpareBatches * recycle_threshold_);
    reserved_ = chunk != nullptr;
    // Relaxed: the pool is not shared yet.
    chunks_[0].store(chunk.release(), std::memory_order_relaxed);
  }
}

ElementPool::~ElementPool() {
  for (std::atomic<Chunk*>& slot : chunks_) {
    // Relaxed: the owner of the map has made sure that all users are done.
    const std::unique_ptr<Chunk> gone(slot.load(std::memory_order_relaxed));
  }
}

std::unique_ptr<ElementPool::Chunk> ElementPool::make_chunk(uint64_t count) const {
  if (count >
      std::numeric_limits<uint64_t>::max() / 2 / (element_stride_ + value_stride_ * (cpu_values_ + 1))) {
    return nullptr;
  }
  std::unique_ptr<Chunk> chunk(new (std::nothrow) Chunk);
  if (chunk == nullptr) return nullptr;
  chunk->count = count;
  chunk->memory = Mapping::anonymous(element_stride_ * count);
  if (!chunk->memory) return nullptr;
  if (cpu_values_ != 0) {
    constexpr size_t kLinePair = 128;
    chunk->cpu_stride = (value_stride_ * count + kLinePair - 1) / kLinePair * kLinePair;
    chunk->rows = Mapping::anonymous(chunk->cpu_stride * cpu_values_);
    if (!chunk->rows) return nullptr;
  }
  return chunk;
}

Element* ElementPool::acquire() {
  if (Element* element = pop_free()) return element;
  // Relaxed: a hint that decides when to look, not what is found.
  if (retired_.load(std::memory_order_relaxed) >= recycle_threshold_) {
    if (Element* element = recycle()) return element;
  }
  if (Element* element = take_unused()) return element;
  if (Element* element = recycle()) return element;
  do {
    if (Element* element = take_unused()) return element;
  } while (grow());
  return nullptr;
}

Element* ElementPool::pop_free() {
  // Acquire: pairs with the releases in push_free(), so that `link` and what the last user left are seen.
  Element* head = free_.load(std::memory_order_acquire);
  while (head != nullptr) {
    // `head` may be taken by another thread in between and `link` with it, but it cannot come back to this
    // list while we are inside a guard: elements return only through their epoch. So an exchange that
    // succeeds found the list unchanged, and the link it installs is right. Relaxed: ordered by the acquire
    // of `head`.
    Element* next = head->link.load(std::memory_order_relaxed);
    // Success needs no order of its own: the acquire that read `head` has ordered its contents. Failure reads
    // a new head, hence acquire.
    if (free_.compare_exchange_weak(head, next, std::memory_order_acquire)) return head;
  }
  return nullptr;
}

void ElementPool::push_free(Element* first) {
  Element* head = nullptr;
  // Usually the list is empty, and then nobody has to look for the end of the new one. Release: pairs with
  // pop_free().
  if (free_.compare_exchange_strong(head, first, std::memory_order_release, std::memory_order_relaxed))
    return;
  Element* last = first;
  while (Element* next = last->link.load(std::memory_order_relaxed)) last = next;
  do {
    last->link.store(head, std::memory_order_relaxed);
  } while (!free_.compare_exchange_weak(head, first, std::memory_order_release, std::memory_order_relaxed));
}

void ElementPool::retire(Element* element) {
  std::atomic<Element*>& bag = bags_[epochs_.current() % kBags];
  Element* head = bag.load(std::memory_order_relaxed);
  do {
    element->link.store(head, std::memory_order_relaxed);
    // Release: pairs with the exchange in recycle().
  } while (!bag.compare_exchange_weak(head, element, std::memory_order_release, std::memory_order_relaxed));
  retired_.fetch_add(1, std::memory_order_relaxed);
}

Element* ElementPool::recycle() {
  retired_.store(0, std::memory_order_relaxed);
  epochs_.try_advance();
  // While we are inside a guard the epoch is `now` or will be now + 1 at most, so a bag whose number is
  // congruent to now - 3 .. now - 6 (modulo 8: to now + 5 .. now + 2) holds nothing younger than now -
  // kGrace.
  const uint64_t now = epochs_.current();
  Element* found = nullptr;
  for (uint64_t age = EpochDomain::kGrace; age <= kBags - 2; ++age) {
    std::atomic<Element*>& bag = bags_[(now - age) % kBags];
    if (bag.load(std::memory_order_relaxed) == nullptr) continue;
    // Acquire: pairs with retire(), and continues to pop_free() through push_free().
    Element* first = bag.exchange(nullptr, std::memory_order_acquire);
    if (first == nullptr) continue;
    if (found == nullptr) {
      found = first;
      first = found->link.load(std::memory_order_relaxed);
      if (first == nullptr) continue;
    }
    push_free(first);
  }
  return found;
}

Element* ElementPool::construct(Chunk& chunk, uint64_t index) const {
  auto* element = new (chunk.memory.data() + element_stride_ * index) Element;
  if (cpu_values_ != 0) {
    new (value(element)) CpuValues{chunk.rows.data() + value_stride_ * index, chunk.cpu_stride};
  }
  return element;
}

Element* ElementPool::take_unused() {
  for (std::atomic<Chunk*>& slot : chunks_) {
    // Acquire: pairs with the release in grow(), so that the chunk is seen complete.
    Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk == nullptr) break;
    // Relaxed: the counter gives out numbers and nothing else. The look before the addition keeps it from
    // overflowing.
    if (chunk->used.load(std::memory_order_relaxed) >= chunk->count) continue;
    const uint64_t index = chunk->used.fetch_add(1, std::memory_order_relaxed);
    if (index < chunk->count) return construct(*chunk, index);
  }
  return nullptr;
}

bool ElementPool::grow() {
  uint64_t total = 0;
  for (std::atomic<Chunk*>& slot : chunks_) {
    Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk != nullptr) {
      total += chunk->count;
      continue;
    }
    auto fresh = make_chunk(std::max(kMinChunk, total));
    // Twice as much may be too much where a little is still to be had.
    if (fresh == nullptr) fresh = make_chunk(kMinChunk);
    if (fresh == nullptr) return false;
    // Release: pairs with take_unused() and value_containing(). When another thread was first, its chunk
    // serves.
    if (slot.compare_exchange_strong(chunk, fresh.get(), std::memory_order_release,
                                     std::memory_order_relaxed)) {
      std::ignore = fresh.release();
    }
    return true;
  }
  return false;
}

MemoryRange ElementPool::value_containing(uintptr_t address) const {
  for (const std::atomic<Chunk*>& slot : chunks_) {
    const Chunk* chunk = slot.load(std::memory_order_acquire);
    if (chunk == nullptr) break;
    const Mapping& home = cpu_values_ == 0 ? chunk->memory : chunk->rows;
    const auto begin = reinterpret_cast<uintptr_t>(home.data());
    if (address < begin || address - begin >= home.size()) continue;
    size_t offset = address - begin;
    size_t stride = element_stride_;
    size_t start = value_offset_;
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

size_t ElementPool::chunks() const {
  return static_cast<size_t>(std::count_if(
      chunks_.begin(), chunks_.end(),
      [](const std::atomic<Chunk*>& slot) { return slot.load(std::memory_order_relaxed) != nullptr; }));
}

}  // namespace skep::maps
