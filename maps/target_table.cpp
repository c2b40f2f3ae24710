#include "maps/target_table.hpp"

#include <bit>
#include <cerrno>
#include <new>
#include <utility>

namespace skep::maps {

static_assert(sizeof(std::atomic<void*>) == sizeof(void*), "zeroed pages are empty chains");

TargetTable::TargetTable(EpochDomain& epochs, TargetStore& store, uint32_t max_entries)
    : epochs_(epochs),
      store_(store),
      max_entries_(max_entries),
      mask_(std::bit_ceil(uint64_t{max_entries}) - 1),
      chains_(Mapping::anonymous((mask_ + 1) * sizeof(std::atomic<Chain*>))),
      touched_(mask_ + 1),
      last_(new(std::nothrow) Change) {}

TargetTable::~TargetTable() {
  // Nobody uses the map any more, so what it holds need not wait, and relaxed loads see all.
  delete last_.load(std::memory_order_relaxed);
  if (!chains_ || !touched_.valid()) return;
  touched_.for_each([this](uint64_t bucket) {
    const std::unique_ptr<Chain> gone(slot(bucket).load(std::memory_order_relaxed));
    for (uint32_t i = 0; gone != nullptr && i < gone->count; ++i) delete gone->entries[i];
  });
}

TargetEntry* TargetTable::find_in(const Chain* chain, uint32_t key) {
  for (uint32_t i = 0; chain != nullptr && i < chain->count; ++i)
    if (chain->entries[i]->key == key) return chain->entries[i];
  return nullptr;
}

// chain() acquires: it pairs with the release in carry_out(), so that a chain and its entries are seen
// complete.
const TargetEntry* TargetTable::find(uint32_t key) const { return find_in(chain(bucket_of(key)), key); }

// By its owner and by whoever needs it done; one of them succeeds. The chain taken out does not come back: a
// chain is put in once, and an empty one takes the place of the last, so that nullptr is there only at first.
void TargetTable::carry_out(const Change& change) {
  if (change.slot == nullptr) return;
  Chain* expected = change.before;
  // Release: pairs with chain(). Acquire on failure: who finds it done goes on from what was done.
  change.slot->compare_exchange_strong(expected, change.after, std::memory_order_acq_rel,
                                       std::memory_order_acquire);
}

// The chain with another first entry, where one is given, and without an entry, if it is in it.
std::unique_ptr<TargetTable::Chain> TargetTable::copy_without(const Chain* from, const TargetEntry* left_out,
                                                              TargetEntry* first) {
  std::unique_ptr<Chain> copy(new (std::nothrow) Chain);
  if (copy == nullptr) return nullptr;
  const uint32_t old = from == nullptr ? 0 : from->count;
  copy->entries.reset(new (std::nothrow) TargetEntry*[old + 1]);
  if (copy->entries == nullptr) return nullptr;
  if (first != nullptr) copy->entries[copy->count++] = first;
  for (uint32_t i = 0; i < old; ++i)
    if (from->entries[i] != left_out) copy->entries[copy->count++] = from->entries[i];
  return copy;
}

// Makes a change that follows on `last`; false: another came first, or there is no memory for it.
bool TargetTable::replace(Change* last, uint64_t bucket, Chain* before, std::unique_ptr<Chain> after,
                          uint32_t entries, bool& no_memory) {
  std::unique_ptr<Change> change(after == nullptr ? nullptr : new (std::nothrow) Change);
  no_memory = change == nullptr;
  if (no_memory) return false;
  change->slot = &slot(bucket);
  change->before = before;
  change->after = after.get();
  change->entries = entries;
  // Release: pairs with the acquire loads of last_, which then see the change and its chain complete.
  if (!last_.compare_exchange_strong(last, change.get(), std::memory_order_acq_rel,
                                     std::memory_order_relaxed))
    return false;
  after.release();
  touched_.mark(bucket);
  carry_out(*change.release());
  epochs_.retire(*last, [](EpochDomain::Retired* node) { delete static_cast<Change*>(node); });
  if (before != nullptr)
    epochs_.retire(*before, [](EpochDomain::Retired* node) { delete static_cast<Chain*>(node); });
  return true;
}

int TargetTable::put(uint32_t key, bool only_new, const Maker& make) {
  const uint64_t bucket = bucket_of(key);
  std::unique_ptr<TargetEntry> entry;
  int result = 0;
  for (bool done = false; !done && result == 0;) {
    Change* last = last_.load(std::memory_order_acquire);
    carry_out(*last);
    Chain* before = slot(bucket).load(std::memory_order_acquire);
    TargetEntry* old = find_in(before, key);
    if (old != nullptr && only_new) result = -EEXIST;
    if (result == 0 && entry == nullptr) result = make(entry);
    if (result == 0 && old == nullptr && last->entries >= max_entries_) result = -E2BIG;
    if (result != 0) break;
    bool no_memory = false;
    done = replace(last, bucket, before, copy_without(before, old, entry.get()),
                   last->entries + (old == nullptr ? 1 : 0), no_memory);
    if (no_memory) result = -ENOMEM;
    if (done && old != nullptr) store_.retire(old);
  }
  if (result == 0)
    entry.release();
  else if (entry != nullptr)
    store_.discard(std::move(entry));
  return result;
}

int TargetTable::erase(uint32_t key) {
  const uint64_t bucket = bucket_of(key);
  for (;;) {
    Change* last = last_.load(std::memory_order_acquire);
    carry_out(*last);
    Chain* before = slot(bucket).load(std::memory_order_acquire);
    TargetEntry* old = find_in(before, key);
    if (old == nullptr) return -ENOENT;
    bool no_memory = false;
    if (replace(last, bucket, before, copy_without(before, old, nullptr), last->entries - 1, no_memory)) {
      store_.retire(old);
      return 0;
    }
    if (no_memory) return -ENOMEM;
  }
}

int TargetTable::next(const uint32_t* key, uint32_t& following) const {
  uint64_t bucket = 0;
  if (key != nullptr) {
    const Chain* at = chain(bucket_of(*key));
    for (uint32_t i = 0; at != nullptr && i < at->count; ++i) {
      if (at->entries[i]->key != *key) continue;
      if (i + 1 < at->count) {
        following = at->entries[i + 1]->key;
        return 0;
      }
      bucket = bucket_of(*key) + 1;
    }
  }
  for (; bucket <= mask_; ++bucket) {
    const Chain* at = chain(bucket);
    if (at == nullptr || at->count == 0) continue;
    following = at->entries[0]->key;
    return 0;
  }
  return -ENOENT;
}

std::vector<const RedirectTarget*> TargetTable::all() const {
  std::vector<const RedirectTarget*> found;
  for (uint64_t bucket = 0; bucket <= mask_; ++bucket) {
    const Chain* at = chain(bucket);
    for (uint32_t i = 0; at != nullptr && i < at->count; ++i) found.push_back(at->entries[i]);
  }
  return found;
}

void TargetTable::clear() {
  touched_.drain([this](uint64_t bucket) {
    for (const Chain* at = chain(bucket); at != nullptr && at->count != 0; at = chain(bucket))
      if (erase(at->entries[0]->key) == -ENOMEM) break;
    // A chain is left, be it an empty one, which the destructor has to find.
    touched_.mark(bucket);
  });
}

}  // namespace skep::maps
