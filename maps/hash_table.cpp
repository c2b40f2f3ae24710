#include "maps/hash_table.hpp"

#include <thread>

namespace skep::maps {

static_assert(sizeof(std::atomic<uintptr_t>) == sizeof(uintptr_t), "zeroed pages are empty buckets");

HashTable::HashTable(ElementPool& pool, uint32_t key_size, uint32_t max_entries, uint64_t buckets,
                     uint32_t seed)
    : pool_(pool),
      key_size_(key_size),
      max_entries_(max_entries),
      mask_(buckets - 1),
      seed_(expand_seed(seed)),
      heads_(Mapping::anonymous(buckets * sizeof(std::atomic<uintptr_t>))) {}

HashTable::BucketLock::BucketLock(HashTable& table, uint64_t bucket)
    : table_(table), head_(table.head(bucket)) {
  constexpr unsigned kSpins = 64;
  for (unsigned tries = 1;; ++tries) {
    // Relaxed: only looks whether an attempt is worth it.
    uintptr_t word = head_.load(std::memory_order_relaxed);
    // Acquire: pairs with the release in the destructor; the chain is seen as the last writer left it. Being
    // a read-modify-write it stays in the release sequence of the store that published the head, so readers
    // who load the word with its lock bit still acquire that element.
    if ((word & kLocked) == 0 && head_.compare_exchange_weak(word, word | kLocked, std::memory_order_acquire,
                                                             std::memory_order_relaxed)) {
      return;
    }
    // The holder may be a simulated CPU whose host thread is not running.
    if (tries % kSpins == 0) std::this_thread::yield();
  }
}

HashTable::BucketLock::~BucketLock() {
  // Only the holder writes the word: the load may be relaxed. Release: pairs with the constructor.
  head_.store(head_.load(std::memory_order_relaxed) & ~kLocked, std::memory_order_release);
}

HashTable::Position HashTable::BucketLock::locate(const void* key, uint32_t hash) {
  std::atomic<uintptr_t>* link = &head_;
  // Relaxed: links change under the lock only, which we hold.
  while (Element* element = to_element(link->load(std::memory_order_relaxed) & ~kLocked)) {
    if (element->hash == hash && same_key(table_.pool_.key(element), key, table_.key_size_))
      return {link, element};
    link = &element->next;
  }
  return {link, nullptr};
}

void HashTable::BucketLock::insert(Element* element) {
  element->next.store(head_.load(std::memory_order_relaxed) & ~kLocked, std::memory_order_relaxed);
  // Release: pairs with the readers' acquire; the element's key, value and link are seen.
  head_.store(reinterpret_cast<uintptr_t>(element) | kLocked, std::memory_order_release);
}

void HashTable::BucketLock::replace(const Position& position, Element* element) {
  element->next.store(position.element->next.load(std::memory_order_relaxed), std::memory_order_relaxed);
  // Release: as in insert().
  position.link->store(reinterpret_cast<uintptr_t>(element) | bit_for(position.link),
                       std::memory_order_release);
}

void HashTable::BucketLock::remove(const Position& position) {
  const uintptr_t next = position.element->next.load(std::memory_order_relaxed);
  // Release: readers reach `next` through this link now, and acquire what its own publication released.
  position.link->store(next | bit_for(position.link), std::memory_order_release);
}

bool HashTable::reserve() {
  // Relaxed, here and in release(): the number orders nothing, the chains and the pool do.
  uint32_t count = count_.load(std::memory_order_relaxed);
  do {
    if (count >= max_entries_) return false;
  } while (!count_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed));
  return true;
}

void HashTable::release() { count_.fetch_sub(1, std::memory_order_relaxed); }

}  // namespace skep::maps
