#pragma once

#include <memory>

#include "maps/hash_map.hpp"
#include "maps/lru.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_LRU_HASH. As a hash, but that a full map lets old elements go. Programs' lookups mark what
// they find as used, user space's do not.
class LruHashMap final : public SingleValueHash {
  friend class SizedLookup<LruHashMap>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  LruHashMap(const MapSpec& spec, const MapEnvironment& environment);

  bool has_memory() const { return HashMapBase::has_memory() && lru_.valid(); }
  uint32_t size() const override { return lru_.size(); }
  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int write(const void* key, const void* value, uint64_t flags) override;

 protected:
  Element* take(const void* key, ElementPool::Cache& cache) override { return lru_.take(key, cache); }
  void clear_table() override { lru_.clear(); }

 private:
  void* found(Element* element, unsigned cpu) const;
  int put(const void* key, const void* value, uint64_t flags, ElementPool::Cache& cache);

  Lru lru_;
};

// BPF_MAP_TYPE_LRU_PERCPU_HASH. The same of a per-CPU hash.
class LruPerCpuHashMap final : public PerCpuHash {
  friend class SizedLookup<LruPerCpuHashMap>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  LruPerCpuHashMap(const MapSpec& spec, const MapEnvironment& environment);

  bool has_memory() const { return HashMapBase::has_memory() && lru_.valid(); }
  uint32_t size() const override { return lru_.size(); }
  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int write(const void* key, const void* value, uint64_t flags) override;

 protected:
  Element* take(const void* key, ElementPool::Cache& cache) override { return lru_.take(key, cache); }
  void clear_table() override { lru_.clear(); }

 private:
  void* found(Element* element, unsigned cpu) const;

  Lru lru_;
};

}  // namespace skep::maps
