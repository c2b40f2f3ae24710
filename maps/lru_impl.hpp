#pragma once

#include <cerrno>
#include <new>

#include "maps/lru.hpp"
#include "maps/lru_list_impl.hpp"

// The functions of BasicLru, for those who instantiate it.

namespace skep::maps {

namespace detail {

constexpr uint32_t lru_batch(unsigned cpus, uint32_t max_entries, uint32_t most) {
  return std::clamp(max_entries / cpus / 2, UINT32_C(1), most);
}
constexpr uint32_t lru_pending_limit(uint32_t batch) { return std::max(2 * batch, UINT32_C(8)); }
constexpr uint32_t lru_gone_limit(uint32_t batch) { return std::max(batch / 2, UINT32_C(4)); }

}  // namespace detail

template <class Atomics>
uint64_t BasicLru<Atomics>::spare_elements(unsigned cpus, uint32_t max_entries, bool list_per_cpu) {
  if (list_per_cpu) return 0;
  const uint32_t batch = detail::lru_batch(cpus, max_entries, kBatch);
  return uint64_t{cpus} * (detail::lru_pending_limit(batch) + detail::lru_gone_limit(batch));
}

template <class Atomics>
BasicLru<Atomics>::BasicLru(Pool& pool, Table& table, unsigned cpus, uint32_t key_size, uint32_t max_entries,
                            bool list_per_cpu)
    : pool_(pool),
      table_(table),
      key_size_(key_size),
      max_entries_(max_entries),
      cpus_(cpus),
      list_per_cpu_(list_per_cpu),
      batch_(list_per_cpu ? kBatchPerCpu : detail::lru_batch(cpus, max_entries, kBatch)),
      pending_limit_(detail::lru_pending_limit(batch_)),
      gone_limit_(detail::lru_gone_limit(batch_)),
      locals_(Mapping::anonymous(sizeof(Local) * cpus)) {
  const unsigned lists = list_per_cpu ? cpus : 1;
  const uint32_t scans = list_per_cpu ? kBatchPerCpu : kBatch;
  const uint32_t ring_size =
      List::ring_size(max_entries / lists, spare_elements(cpus, max_entries, list_per_cpu), scans);
  rings_ = Mapping::anonymous(uint64_t{lists} * 2 * ring_size * sizeof(uint32_t));
  lists_.reset(new (std::nothrow) List[lists]);
  if (!valid()) return;
  auto* memory = reinterpret_cast<uint32_t*>(rings_.data());
  for (unsigned n = 0; n < lists; ++n)
    lists_[n].begin(pool, memory + uint64_t{n} * 2 * ring_size, ring_size, scans);
  // Relaxed: nobody else is there yet.
  if (!list_per_cpu)
    free_.store(max_entries, std::memory_order_relaxed);
  else
    for (unsigned cpu = 0; cpu < cpus; ++cpu)
      local(cpu).free.store(max_entries / cpus, std::memory_order_relaxed);
}

template <class Atomics>
uint32_t BasicLru<Atomics>::size() const {
  const uint32_t used = used_.load(std::memory_order_relaxed);
  uint32_t free = free_.load(std::memory_order_relaxed);
  if (list_per_cpu_) free += max_entries_ / cpus_ * (cpus_ - used);
  for (unsigned cpu = 0; cpu < used; ++cpu) {
    // In this order, so that the difference is not negative.
    const uint32_t collected = local(cpu).collected.load(std::memory_order_acquire);
    free += local(cpu).returned.load(std::memory_order_relaxed) - collected;
    free += local(cpu).free.load(std::memory_order_relaxed);
  }
  // One that moves may be met twice.
  return max_entries_ - std::min(free, max_entries_);
}

template <class Atomics>
void BasicLru<Atomics>::clear() {
  // Relaxed everywhere, as nobody else is there.
  const uint32_t used = used_.load(std::memory_order_relaxed);
  for (unsigned cpu = 0; cpu < used; ++cpu) {
    Local& local = this->local(cpu);
    local.free.store(list_per_cpu_ ? max_entries_ / cpus_ : 0, std::memory_order_relaxed);
    local.returned.store(0, std::memory_order_relaxed);
    local.collected.store(0, std::memory_order_relaxed);
    local.left_over.store(0, std::memory_order_relaxed);
    local.next_victim.store(0, std::memory_order_relaxed);
    local.pending_count = local.gone_count = 0;
    if (list_per_cpu_) lists_[cpu].clear();
  }
  if (!list_per_cpu_) {
    lists_[0].clear();
    free_.store(max_entries_, std::memory_order_relaxed);
  }
  used_.store(0, std::memory_order_relaxed);
  hand_.store(0, std::memory_order_relaxed);
  table_.clear();
}

template <class Atomics>
bool BasicLru<Atomics>::Lock::take() {
  for (unsigned turn = 0; turn < Atomics::kSpins; ++turn) {
    if (try_take()) return true;
    Atomics::pause();
  }
  // Who has it may have lost the processor.
  constexpr unsigned kTurns = 4;
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    Atomics::let_others_run(turn);
    if (try_take()) return true;
  }
  return false;
}

template <class Atomics>
bool BasicLru<Atomics>::take_from(Atomic<uint32_t>& count) {
  uint32_t seen = count.load(std::memory_order_relaxed);
  while (seen != 0) {
    if (count.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire, std::memory_order_relaxed))
      return true;
  }
  return false;
}

template <class Atomics>
uint32_t BasicLru<Atomics>::collect(Local& local, uint32_t most) {
  uint32_t collected = local.collected.load(std::memory_order_acquire);
  for (;;) {
    // Acquire: pairs with give_back(). Never behind what is collected, which was read before: acquire and
    // release of that, too, since who collected had seen the places returned.
    const uint32_t places = std::min(local.returned.load(std::memory_order_acquire) - collected, most);
    if (places == 0) return 0;
    if (local.collected.compare_exchange_weak(collected, collected + places, std::memory_order_acq_rel,
                                              std::memory_order_acquire))
      return places;
  }
}

template <class Atomics>
void BasicLru<Atomics>::mark_used(unsigned cpu) {
  // Relaxed: who misses a CPU misses what it has only just got.
  uint32_t used = used_.load(std::memory_order_relaxed);
  while (used <= cpu && !used_.compare_exchange_weak(used, cpu + 1, std::memory_order_relaxed)) {
  }
}

// --- Places

template <class Atomics>
template <class Gone>
unsigned BasicLru<Atomics>::take_place(unsigned cpu, Cache& cache, const Gone& gone) {
  mark_used(cpu);
  if (list_per_cpu_ ? take_of_cpu(cpu, cache, gone) : take_common(cpu, cache, gone)) return cpu;
  const unsigned home = take_anywhere(cpu);
  return home != kNoPlace ? home : evict_any(cache, gone);
}

template <class Atomics>
template <class Gone>
bool BasicLru<Atomics>::take_common(unsigned cpu, Cache& cache, const Gone& gone) {
  Local& mine = local(cpu);
  if (take_from(mine.free)) [[likely]]
    return true;
  if (mine.lock.take()) {
    // A task may have been here before us.
    bool taken = take_from(mine.free);
    if (!taken) {
      refill(mine, cache, gone);
      taken = take_from(mine.free);
    }
    mine.lock.give();
    if (taken) return true;
  }
  // Places that are left may have been out of reach for want of a lock.
  return take_from(free_) || steal(cpu, cache, gone);
}

template <class Atomics>
template <class Gone>
void BasicLru<Atomics>::refill(Local& mine, Cache& cache, const Gone& gone) {
  if (!lock_.take()) return;
  List& list = lists_[0];
  drain_gone(mine, cache);
  drain_pending(mine, cache);
  drain_left_over(mine, list, cache);
  list.rotate(cache);
  const uint32_t used = used_.load(std::memory_order_relaxed);
  for (unsigned cpu = 0; cpu < used; ++cpu) {
    if (const uint32_t collected = collect(local(cpu), UINT32_MAX)) give_to(free_, collected);
  }
  uint32_t places = 0;
  while (places < batch_ && take_from(free_)) ++places;
  std::array<Element*, kBatch> selected;
  unsigned count = 0;
  if (places < batch_) {
    count = list.select(std::span(selected).first(batch_ - places), cache);
    if (count == 0 && force(list, cache, gone)) ++places;
  }
  lock_.give();
  // What is selected is in no list any more, and so nobody else's to evict.
  give_to(mine.free, places + remove_selected(std::span(selected).first(count), cache, gone));
}

template <class Atomics>
template <class Gone>
bool BasicLru<Atomics>::force(List& list, Cache& cache, const Gone& gone) {
  Element* element = list.force(cache, [&](Element* oldest) { return table_.remove(oldest, cache); });
  if (element == nullptr) return false;
  gone(element);
  pool_.retire(cache, element);
  return true;
}

// How many places that gives.
template <class Atomics>
template <class Gone>
uint32_t BasicLru<Atomics>::remove_selected(std::span<Element*> selected, Cache& cache, const Gone& gone) {
  constexpr size_t kAhead = 8;
  uint32_t places = 0;
  for (size_t n = 0; n < selected.size(); ++n) {
    if (n + kAhead < selected.size()) table_.prefetch_for_change(pool_.key(selected[n + kAhead]));
    Element* element = selected[n];
    if (!table_.remove(element, cache)) {
      end(element, cache);
      continue;
    }
    ++places;
    gone(element);
    pool_.retire(cache, element);
  }
  return places;
}

// As the kernel does: from one CPU after the other, beginning behind the last that had something.
template <class Atomics>
template <class Gone>
bool BasicLru<Atomics>::steal(unsigned cpu, Cache& cache, const Gone& gone) {
  Local& mine = local(cpu);
  const uint32_t used = used_.load(std::memory_order_relaxed);
  // From our own number on, so that it begins with ourselves. Relaxed: where to begin is no matter.
  const uint32_t first = mine.next_victim.load(std::memory_order_relaxed);
  uint32_t next = first;
  bool taken = false;
  do {
    const unsigned victim = (cpu + next) % cpus_;
    next = (next + 1) % cpus_;
    if (victim >= used) continue;
    Local& theirs = local(victim);
    taken = take_from(theirs.free) || steal_pending(theirs, cache, gone);
  } while (!taken && next != first);
  mine.next_victim.store(next, std::memory_order_relaxed);
  return taken;
}

// The oldest that is not referenced, or else the oldest.
template <class Atomics>
template <class Gone>
bool BasicLru<Atomics>::steal_pending(Local& theirs, Cache& cache, const Gone& gone) {
  if (!theirs.lock.take()) return false;
  Element* stolen = nullptr;
  for (const bool forced : {false, true}) {
    for (uint32_t n = 0; n < theirs.pending_count && stolen == nullptr; ++n) {
      const uint32_t number = theirs.pending[n];
      if (number == 0) continue;
      Element* element = pool_.at(number);
      if ((node(element).is_referenced() && !forced) || !table_.remove(element, cache)) continue;
      theirs.pending[n] = 0;
      stolen = element;
    }
  }
  theirs.lock.give();
  if (stolen == nullptr) return false;
  gone(stolen);
  pool_.retire(cache, stolen);
  return true;
}

// Places that are free in some count; no locks. The CPU whose place it is from now on.
template <class Atomics>
unsigned BasicLru<Atomics>::take_anywhere(unsigned cpu) {
  if (take_from(free_)) return cpu;
  for (unsigned other = 0; other < cpus_; ++other) {
    if (collect(local(other), 1) != 0) return cpu;
    if (!take_from(local(other).free)) continue;
    mark_used(other);
    return list_per_cpu_ ? other : cpu;
  }
  return kNoPlace;
}

// The last of a bucket, one bucket after the other; no locks. The CPU whose place it was.
template <class Atomics>
template <class Gone>
unsigned BasicLru<Atomics>::evict_any(Cache& cache, const Gone& gone) {
  for (uint64_t n = 0; n < table_.buckets(); ++n) {
    // Relaxed: nobody minds if two look into one bucket.
    const uint64_t bucket = hand_.fetch_add(1, std::memory_order_relaxed) & (table_.buckets() - 1);
    Element* oldest = nullptr;
    for (Element* each = table_.first(bucket); each != nullptr; each = table_.after(each)) oldest = each;
    if (oldest == nullptr || !table_.remove(oldest, cache)) continue;
    const unsigned home = node(oldest).cpu.load(std::memory_order_relaxed);
    gone(oldest);
    end(oldest, cache);
    return home;
  }
  return kNoPlace;
}

template <class Atomics>
template <class Gone>
bool BasicLru<Atomics>::take_of_cpu(unsigned cpu, Cache& cache, const Gone& gone) {
  Local& mine = local(cpu);
  if (!mine.lock.take()) return take_from(mine.free);
  List& list = lists_[cpu];
  drain_left_over(mine, list, cache);
  list.rotate(cache);
  bool taken = take_from(mine.free);
  if (!taken) {
    std::array<Element*, kBatchPerCpu> selected;
    const unsigned count = list.select(selected, cache);
    uint32_t places = remove_selected(std::span(selected).first(count), cache, gone);
    if (count == 0 && force(list, cache, gone)) ++places;
    if (places != 0) give_to(mine.free, places);
    taken = take_from(mine.free);
  }
  mine.lock.give();
  return taken;
}

// --- Lists. What is said to be called under a lock is called under that of the CPU whose Local it is given.

// Under the lock of the shared lists, too. Those that a scan has met are in no list any more.
template <class Atomics>
void BasicLru<Atomics>::drain_gone(Local& local, Cache& cache) {
  for (uint32_t n = 0; n < local.gone_count; ++n) {
    Element* element = pool_.at(local.gone[n]);
    if (lists_[0].take_out(element))
      pool_.retire(cache, element);
    else
      end(element, cache);
  }
  local.gone_count = 0;
}

// Under the lock of the shared lists, too.
template <class Atomics>
void BasicLru<Atomics>::drain_pending(Local& local, Cache& cache) {
  for (uint32_t n = 0; n < local.pending_count; ++n) {
    if (local.pending[n] == 0) continue;
    Element* element = pool_.at(local.pending[n]);
    if (Table::has_left(element))
      end(element, cache);
    else
      lists_[0].add(element, node(element).is_referenced(), cache);
  }
  local.pending_count = 0;
}

// Under the list's lock.
template <class Atomics>
void BasicLru<Atomics>::drain_left_over(Local& local, List& list, Cache& cache) {
  if (local.left_over.load(std::memory_order_relaxed) == 0) [[likely]]
    return;
  // Acquire: pairs with leave_over(); the links are seen. Taken whole, so nothing comes back in between.
  uint32_t number = local.left_over.exchange(0, std::memory_order_acquire);
  // The oldest first.
  uint32_t newer = 0;
  while (number != 0) {
    Element* element = pool_.at(number);
    const uint32_t older = element->link.load(std::memory_order_relaxed);
    element->link.store(newer, std::memory_order_relaxed);
    newer = std::exchange(number, older);
  }
  while (newer != 0) {
    Element* element = pool_.at(newer);
    newer = element->link.load(std::memory_order_relaxed);
    if (Table::has_left(element))
      end(element, cache);
    else
      list.add(element, node(element).is_referenced(), cache);
  }
}

template <class Atomics>
void BasicLru<Atomics>::leave_over(Local& local, Element* element) {
  const uint32_t number = pool_.number(element);
  uint32_t head = local.left_over.load(std::memory_order_relaxed);
  do {
    element->link.store(head, std::memory_order_relaxed);
    // Release: pairs with the exchange in drain_left_over().
  } while (!local.left_over.compare_exchange_weak(head, number, std::memory_order_release,
                                                  std::memory_order_relaxed));
}

// Under the lock.
template <class Atomics>
void BasicLru<Atomics>::close_pending(Local& local, Cache& cache) {
  uint32_t kept = 0;
  for (uint32_t n = 0; n < local.pending_count; ++n) {
    const uint32_t number = local.pending[n];
    if (number == 0) continue;
    Element* element = pool_.at(number);
    if (Table::has_left(element))
      end(element, cache);
    else
      local.pending[kept++] = number;
  }
  local.pending_count = kept;
}

// Under the lock.
template <class Atomics>
void BasicLru<Atomics>::add_pending(Local& local, Element* element, Cache& cache) {
  if (local.pending_count == pending_limit_) [[unlikely]] {
    close_pending(local, cache);
    if (local.pending_count == pending_limit_ && lock_.try_take()) {
      drain_pending(local, cache);
      lock_.give();
    }
    if (local.pending_count == pending_limit_) {
      leave_over(local, element);
      return;
    }
  }
  local.pending[local.pending_count++] = pool_.number(element);
}

// Under the lock. When there are many they go, or are left to the scans.
template <class Atomics>
void BasicLru<Atomics>::add_gone(Local& local, Element* element, Cache& cache) {
  local.gone[local.gone_count++] = pool_.number(element);
  if (local.gone_count != gone_limit_) [[likely]]
    return;
  if (lock_.try_take()) {
    drain_gone(local, cache);
    lock_.give();
    return;
  }
  for (uint32_t n = 0; n < local.gone_count; ++n) end(pool_.at(local.gone[n]), cache);
  local.gone_count = 0;
}

// The new element into a list, and out of it what has left the table for it.
template <class Atomics>
void BasicLru<Atomics>::enlist(Element* fresh, Element* old, unsigned home, unsigned cpu, Cache& cache) {
  Local& mine = local(home);
  const bool locked = mine.lock.take();
  if (!locked) {
    leave_over(mine, fresh);
  } else if (list_per_cpu_) {
    lists_[home].add(fresh, false, cache);
  } else {
    add_pending(mine, fresh, cache);
    if (old != nullptr && is_shared(old)) {
      add_gone(mine, old, cache);
      give_back(mine);
      old = nullptr;
    }
  }
  if (locked) mine.lock.give();
  if (old != nullptr) let_go(old, cpu, cache);
}

// What has left the table by our doing: its place is free, and it leaves its list.
template <class Atomics>
void BasicLru<Atomics>::let_go(Element* element, unsigned cpu, Cache& cache) {
  Local& home = local(node(element).cpu.load(std::memory_order_relaxed));
  if (list_per_cpu_) {
    give_to(home.free, 1);
    // It may have come into no list yet.
    const bool locked = home.lock.take();
    const bool taken_out =
        locked && lists_[node(element).cpu.load(std::memory_order_relaxed)].take_out(element);
    if (locked) home.lock.give();
    if (taken_out)
      pool_.retire(cache, element);
    else
      end(element, cache);
    return;
  }
  Local& mine = local(cpu);
  mark_used(cpu);
  if (!is_shared(element)) {
    // Pending; whoever looks through those will find it.
    give_to(home.free, 1);
  } else if (mine.lock.take()) {
    add_gone(mine, element, cache);
    give_back(mine);
    mine.lock.give();
    return;
  } else {
    give_to(free_, 1);
  }
  end(element, cache);
}

// --- Operations

template <class Atomics>
template <class Fill>
auto BasicLru<Atomics>::make(const void* key, unsigned home, Cache& cache, const Fill& fill) -> Element* {
  Element* element = pool_.acquire(cache);
  if (element == nullptr) return nullptr;
  ::new (&node(element)) Node;
  // Relaxed: not published yet.
  node(element).cpu.store(static_cast<uint16_t>(home), std::memory_order_relaxed);
  copy_key(pool_.key(element), key, key_size_);
  fill(element);
  Pool::used(element);
  return element;
}

template <class Atomics>
template <class Fill, class Gone>
int BasicLru<Atomics>::put(const void* key, uint64_t flags, Cache& cache, const Fill& fill,
                           const Gone& gone) {
  table_.prefetch_for_change(key);
  const unsigned cpu = cpu_of(cache);
  const unsigned home = take_place(cpu, cache, gone);
  if (home == kNoPlace) return -ENOMEM;
  Element* fresh = make(key, home, cache, fill);
  Element* old = nullptr;
  const int result = fresh == nullptr ? -ENOMEM : table_.publish(fresh, flags, cache, old);
  if (result != 0) {
    if (fresh != nullptr) pool_.give_back(cache, fresh);
    give_place(home);
    return result;
  }
  if (old != nullptr) gone(old);
  enlist(fresh, old, home, cpu, cache);
  if (old != nullptr) reference(fresh);
  return 0;
}

template <class Atomics>
template <class Change, class Fill, class Gone>
int BasicLru<Atomics>::put_in_place(const void* key, uint64_t flags, Cache& cache, const Change& change,
                                    const Fill& fill, const Gone& gone) {
  const unsigned cpu = cpu_of(cache);
  unsigned home = kNoPlace;
  // With a free place to take, which would be given back, nothing has to go for an element that is there.
  if (flags == BPF_ANY && !list_per_cpu_ && local(cpu).free.load(std::memory_order_relaxed) != 0) {
    if (Element* found = table_.find(key)) {
      reference(found);
      change(found);
      return 0;
    }
  }
  if (flags != BPF_EXIST) {
    home = take_place(cpu, cache, gone);
    if (home == kNoPlace) return -ENOMEM;
  }
  int result = 0;
  for (;;) {
    if (Element* found = table_.find(key)) {
      result = flags == BPF_NOEXIST ? -EEXIST : 0;
      if (result == 0) {
        reference(found);
        change(found);
      }
      break;
    }
    if (flags == BPF_EXIST) return -ENOENT;
    Element* fresh = make(key, home, cache, fill);
    Element* old = nullptr;
    result = fresh == nullptr ? -ENOMEM : table_.publish(fresh, BPF_NOEXIST, cache, old);
    if (result == 0) {
      enlist(fresh, nullptr, home, cpu, cache);
      return 0;
    }
    if (fresh == nullptr) break;
    pool_.give_back(cache, fresh);
    // Another thread has put it in meanwhile.
  }
  if (home != kNoPlace) give_place(home);
  return result;
}

template <class Atomics>
auto BasicLru<Atomics>::take(const void* key, Cache& cache) -> Element* {
  Element* element = table_.remove(key, cache);
  if (element != nullptr) let_go(element, cpu_of(cache), cache);
  return element;
}

}  // namespace skep::maps
