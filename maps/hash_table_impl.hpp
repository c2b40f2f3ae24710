#pragma once

#include <cerrno>

#include "maps/element_pool_impl.hpp"
#include "maps/hash_table.hpp"
#include "maps/huge_pages.hpp"

// The table's functions, for those who instantiate it.

namespace skep::maps {

template <class Atomics>
BasicHashTable<Atomics>::BasicHashTable(Pool& pool, unsigned cpus, uint32_t key_size, uint32_t max_entries,
                                        uint64_t buckets, uint32_t seed)
    : pool_(pool),
      key_size_(key_size),
      mask_(buckets - 1),
      seed_(expand_seed(seed)),
      heads_(Mapping::anonymous(buckets * sizeof(Atomic<uintptr_t>))),
      places_(cpus, max_entries) {
  static_assert(sizeof(Atomic<uintptr_t>) == sizeof(uintptr_t), "zeroed pages are empty buckets");
  prefer_huge_pages(heads_);
}

// Finds the key and unlinks what is marked on the way.
template <class Atomics>
template <typename BasicHashTable<Atomics>::Dead kDead>
auto BasicHashTable<Atomics>::locate_in(Atomic<uintptr_t>& head, const void* key, Cache& cache) -> Place {
  for (;;) {
    Place place{.head = &head, .link = &head};
    // Acquire, here and below: pairs with the releases of those who change the chain.
    place.element = place.first = to_element(head.load(std::memory_order_acquire));
    for (;;) {
      if (place.element == nullptr) return place;
      const uintptr_t word = place.element->next.load(std::memory_order_acquire);
      place.next = to_element(word);
      if ((word & kMarks) == 0) {
        if (same_key(pool_.key(place.element), key, key_size_)) return place;
        place.link = &place.element->next;
      } else {
        // Fails if the link has another value or its own element is marked: then the way here is out of date.
        // Release: hands on what was acquired by reading `word`.
        uintptr_t expected = to_word(place.element);
        if (!place.link->compare_exchange_strong(expected, to_word(place.next), std::memory_order_release,
                                                 std::memory_order_relaxed))
          break;
        if (place.link == &head) place.first = place.next;
        if constexpr (kDead == Dead::kRetired) pool_.retire(cache, place.element);
      }
      place.element = place.next;
    }
  }
}

template <class Atomics>
bool BasicHashTable<Atomics>::insert(const Place& place, Element* element) {
  // Relaxed: not published yet.
  element->next.store(to_word(place.first), std::memory_order_relaxed);
  uintptr_t expected = to_word(place.first);
  // Release: pairs with the acquires of those who search; the element is seen complete, and so is what it
  // leads to.
  return place.head->compare_exchange_strong(expected, to_word(element), std::memory_order_release,
                                             std::memory_order_relaxed);
}

template <class Atomics>
template <typename BasicHashTable<Atomics>::Dead kDead>
bool BasicHashTable<Atomics>::replace(const Place& place, Element* element, const void* key, Cache& cache) {
  element->next.store(to_word(place.next), std::memory_order_relaxed);
  element->behind.store(place.next == nullptr ? 0 : pool_.number(place.next), std::memory_order_relaxed);
  uintptr_t expected = to_word(place.next);
  // Release: as in insert().
  if (!place.element->next.compare_exchange_strong(expected, to_word(element) | kReplaced,
                                                   std::memory_order_release, std::memory_order_relaxed))
    return false;
  unlink<kDead>(place, element, key, cache);
  return true;
}

template <class Atomics>
template <typename BasicHashTable<Atomics>::Dead kDead>
bool BasicHashTable<Atomics>::remove_at(const Place& place, const void* key, Cache& cache) {
  uintptr_t expected = to_word(place.next);
  // Acquire: what the value holds was written before. Release: not needed by anybody, but the mark carries on
  // what the link before it released.
  if (!place.element->next.compare_exchange_strong(expected, expected | kDeleted, std::memory_order_acq_rel,
                                                   std::memory_order_relaxed))
    return false;
  unlink<kDead>(place, place.next, key, cache);
  return true;
}

// After the mark: the link past the element. If it is not as it was, a search finds the element or finds that
// another thread has unlinked it.
template <class Atomics>
template <typename BasicHashTable<Atomics>::Dead kDead>
void BasicHashTable<Atomics>::unlink(const Place& place, Element* successor, const void* key, Cache& cache) {
  uintptr_t expected = to_word(place.element);
  // Release: the successor is seen complete by those who come past the old element.
  if (place.link->compare_exchange_strong(expected, to_word(successor), std::memory_order_release,
                                          std::memory_order_relaxed)) {
    if constexpr (kDead == Dead::kRetired) pool_.retire(cache, place.element);
  } else {
    locate_in<kDead>(*place.head, key, cache);
  }
}

// Acquired when it is needed, and given back unless it was published.
template <class Atomics>
class BasicHashTable<Atomics>::Fresh {
 public:
  Fresh(BasicHashTable& table, Cache& cache)
      : table_(table), cache_(cache), use_(table.places_, cache.cpu()) {}
  Fresh(const Fresh&) = delete;
  Fresh& operator=(const Fresh&) = delete;
  ~Fresh() {
    if (element_ != nullptr) [[unlikely]]
      table_.pool_.give_back(cache_, element_);
    if (has_place_) [[unlikely]]
      table_.places_.give(cache_.cpu());
  }

  template <class Fill>
  bool make(const void* key, const Fill& fill) {
    if (element_ != nullptr) return true;
    element_ = table_.pool_.acquire(cache_);
    if (element_ == nullptr) return false;
    copy_key(table_.pool_.key(element_), key, table_.key_size_);
    fill(element_);
    // From here on it is not zero, be it published or not.
    Pool::used(element_);
    return true;
  }
  bool take_place() { return has_place_ || (has_place_ = table_.places_.take(cache_.cpu())); }

  Element* element() const { return element_; }
  // It replaces another and stands in that one's place.
  void replaced() { element_ = nullptr; }
  void inserted() {
    element_ = nullptr;
    has_place_ = false;
  }

 private:
  BasicHashTable& table_;
  Cache& cache_;
  typename Places<Atomics>::Use use_;  // ends last
  Element* element_ = nullptr;
  bool has_place_ = false;
};

template <class Atomics>
template <class Fill, class Replaced>
int BasicHashTable<Atomics>::put(const void* key, uint64_t flags, Cache& cache, const Fill& fill,
                                 const Replaced& replaced) {
  Atomic<uintptr_t>& head = this->head(bucket_of(key));
  __builtin_prefetch(&head, 1);
  Fresh fresh(*this, cache);
  // Nearly always it is going to be needed, and the head is on its way meanwhile. Whether there was memory
  // matters only then.
  fresh.make(key, fill);
  for (;;) {
    const Place place = locate_in<Dead::kRetired>(head, key, cache);
    if (place.element != nullptr) {
      if (flags == BPF_NOEXIST) return -EEXIST;
      if (!fresh.make(key, fill)) return -ENOMEM;
      if (!replace<Dead::kRetired>(place, fresh.element(), key, cache)) continue;
      fresh.replaced();
      replaced(place.element);
      return 0;
    }
    if (flags == BPF_EXIST) return -ENOENT;
    if (!fresh.take_place()) {
      // Another thread may have put in the key with the last place. Acquire: a hint.
      if (head.load(std::memory_order_acquire) != to_word(place.first)) continue;
      return -E2BIG;
    }
    if (!fresh.make(key, fill)) return -ENOMEM;
    if (!insert(place, fresh.element())) continue;
    fresh.inserted();
    return 0;
  }
}

template <class Atomics>
template <class Change, class Fill>
int BasicHashTable<Atomics>::put_in_place(const void* key, uint64_t flags, Cache& cache, const Change& change,
                                          const Fill& fill) {
  Element* found = find(key);
  if (found == nullptr) {
    Atomic<uintptr_t>& head = this->head(bucket_of(key));
    Fresh fresh(*this, cache);
    for (;;) {
      const Place place = locate_in<Dead::kRetired>(head, key, cache);
      found = place.element;
      if (found != nullptr) break;
      if (flags == BPF_EXIST) return -ENOENT;
      if (!fresh.take_place()) {
        if (head.load(std::memory_order_acquire) != to_word(place.first)) continue;
        return -E2BIG;
      }
      if (!fresh.make(key, fill)) return -ENOMEM;
      if (!insert(place, fresh.element())) continue;
      fresh.inserted();
      return 0;
    }
  }
  if (flags == BPF_NOEXIST) return -EEXIST;
  change(found);
  return 0;
}

template <class Atomics>
auto BasicHashTable<Atomics>::take(const void* key, Cache& cache) -> Element* {
  const typename Places<Atomics>::Use use(places_, cache.cpu());
  for (;;) {
    const Place place = locate<Dead::kRetired>(key, cache);
    if (place.element == nullptr) return nullptr;
    if (!remove_at<Dead::kRetired>(place, key, cache)) continue;
    places_.give(cache.cpu());
    return place.element;
  }
}

// By way of its key: only what was reached through unmarked elements may be marked.
template <class Atomics>
bool BasicHashTable<Atomics>::take(Element* element, Cache& cache) {
  const typename Places<Atomics>::Use use(places_, cache.cpu());
  const std::byte* key = pool_.key(element);
  for (;;) {
    const Place place = locate<Dead::kRetired>(key, cache);
    if (place.element != element) return false;
    if (!remove_at<Dead::kRetired>(place, key, cache)) continue;
    places_.give(cache.cpu());
    return true;
  }
}

template <class Atomics>
int BasicHashTable<Atomics>::publish(Element* fresh, uint64_t flags, Cache& cache, Element*& replaced) {
  const std::byte* key = pool_.key(fresh);
  Atomic<uintptr_t>& head = this->head(bucket_of(key));
  for (;;) {
    const Place place = locate_in<Dead::kLeft>(head, key, cache);
    if (place.element != nullptr) {
      if (flags == BPF_NOEXIST) return -EEXIST;
      if (!replace<Dead::kLeft>(place, fresh, key, cache)) continue;
      replaced = place.element;
      return 0;
    }
    if (flags == BPF_EXIST) return -ENOENT;
    if (insert(place, fresh)) return 0;
  }
}

template <class Atomics>
auto BasicHashTable<Atomics>::remove(const void* key, Cache& cache) -> Element* {
  for (;;) {
    const Place place = locate<Dead::kLeft>(key, cache);
    if (place.element == nullptr) return nullptr;
    if (remove_at<Dead::kLeft>(place, key, cache)) return place.element;
  }
}

// As take(element).
template <class Atomics>
bool BasicHashTable<Atomics>::remove(Element* element, Cache& cache) {
  const std::byte* key = pool_.key(element);
  for (;;) {
    const Place place = locate<Dead::kLeft>(key, cache);
    if (place.element != element) return false;
    if (remove_at<Dead::kLeft>(place, key, cache)) return true;
  }
}

template <class Atomics>
template <class Visit>
void BasicHashTable<Atomics>::clear(const Visit& visit) {
  // Elements that were never published have a key of any kind, whose bucket is empty afterwards like all.
  pool_.clear([&](Element* element) {
    head(bucket_of(pool_.key(element))).store(0, std::memory_order_relaxed);
    visit(element);
  });
  places_.clear();
}

template <class Atomics>
void BasicHashTable<Atomics>::clear() {
  clear([](const Element*) {});
}

}  // namespace skep::maps
