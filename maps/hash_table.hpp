#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "maps/element_pool.hpp"
#include "maps/key_hash.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// Chained hash table over the elements of a pool.
//
// Guarantees
//  - Readers (find, first, after, a walk) take no lock and are never sent back to the beginning. They see a
//    key that is replaced during their search all the time: the old element or the new one.
//  - Writers lock the chain they change and no other.
//  - The count of elements is exact.
// Everything is called inside an epoch guard.
// The count lies on a cache line of its own, hence the padding.
class HashTable {
 public:
  // `buckets` is a power of two. Check valid() afterwards.
  HashTable(ElementPool& pool, uint32_t key_size, uint32_t max_entries, uint64_t buckets, uint32_t seed);

  bool valid() const { return static_cast<bool>(heads_); }
  uint64_t buckets() const { return mask_ + 1; }
  uint32_t size() const { return count_.load(std::memory_order_relaxed); }

  uint32_t hash(const void* key) const { return hash_key(key, key_size_, seed_); }
  uint64_t bucket_of(uint32_t hash) const { return hash & mask_; }

  Element* find(const void* key) const { return find(key, hash(key)); }
  Element* find(const void* key, uint32_t hash) const { return find(key, hash, key_size_); }
  // The same for keys whose size the caller knows.
  template <uint32_t kKeySize>
  Element* find_sized(const void* key) const {
    return find(key, hash_key(key, kKeySize, seed_), kKeySize);
  }

  // The chain of a bucket. Acquire: pairs with the release stores of BucketLock, so that an element is seen
  // complete.
  Element* first(uint64_t bucket) const {
    return to_element(head(bucket).load(std::memory_order_acquire) & ~kLocked);
  }
  static Element* after(const Element* element) {
    return to_element(element->next.load(std::memory_order_acquire));
  }

  // A place in a chain: the link that points to an element.
  struct Position {
    std::atomic<uintptr_t>* link = nullptr;
    Element* element = nullptr;  // nullptr: the key is not in the chain
  };

  // Excludes other writers from one chain.
  class BucketLock {
   public:
    BucketLock(HashTable& table, uint64_t bucket);
    BucketLock(const BucketLock&) = delete;
    BucketLock& operator=(const BucketLock&) = delete;
    ~BucketLock();

    Position locate(const void* key, uint32_t hash);
    // Makes an element visible that has its key, hash and value.
    void insert(Element* element);
    // Exchanges elements in one step, in the same place of the chain. Inserting the new one at the front and
    // then unlinking the old one would let a reader who is between the two miss the key.
    void replace(const Position& position, Element* element);
    void remove(const Position& position);

   private:
    // The head keeps the lock bit while we hold it; links between elements have none.
    uintptr_t bit_for(const std::atomic<uintptr_t>* link) const { return link == &head_ ? kLocked : 0; }

    HashTable& table_;
    std::atomic<uintptr_t>& head_;
  };

  // Takes one of max_entries places; false when all are taken. Exact: never more than max_entries, and
  // refused only if that many are in the table or about to be.
  bool reserve();
  void release();

 private:
  static constexpr uintptr_t kLocked = 1;

  [[gnu::always_inline]] Element* find(const void* key, uint32_t hash, uint32_t key_size) const {
    for (Element* element = first(bucket_of(hash)); element != nullptr; element = after(element)) {
      if (element->hash == hash && same_key(pool_.key(element), key, key_size)) return element;
    }
    return nullptr;
  }

  // Words and not pointers, because heads carry the lock bit.
  static Element* to_element(uintptr_t word) { return reinterpret_cast<Element*>(word); }
  std::atomic<uintptr_t>& head(uint64_t bucket) const {
    return reinterpret_cast<std::atomic<uintptr_t>*>(heads_.data())[bucket];
  }

  ElementPool& pool_;
  uint32_t key_size_;
  uint32_t max_entries_;
  uint64_t mask_;
  uint64_t seed_;
  Mapping heads_;
  alignas(64) std::atomic<uint32_t> count_{0};
};

}  // namespace skep::maps
