#pragma once

#include <memory>

#include "maps/element_pool.hpp"
#include "maps/hash_table.hpp"
#include "maps/map.hpp"

namespace skep::maps {

// The functions that lookup_function() and step_function() give out, one template for all types and key
// sizes.
template <class Type>
class SizedLookup {
 public:
  static Map::LookupFunction function_for(uint32_t key_size);
  static WalkedElement step(Map& map, WalkPosition& position, unsigned cpu) noexcept;

 private:
  template <uint32_t kKeySize>
  static void* find(Map& map, const void* key, unsigned cpu) noexcept;
};

// What the hash types share. Semantics: kernel/bpf/hashtab.c.
//
// The kernel copies and empties a bucket under its lock. Here batches and walks lock nothing: each element is
// read or deleted by itself while others change the bucket. What is in the bucket all the time is met once.
class HashMapBase : public Map {
 public:
  int erase(const void* key) override;
  int erase_on(const void* key, unsigned cpu) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int read_and_erase(const void* key, void* value, uint64_t flags) override;
  int next_key(const void* key, void* next) override;
  // The cursor is the number of the next bucket, 32 bits; a bucket is copied whole or not at all.
  BatchCommands batch_commands() const override { return {true, true, true, true, true}; }
  int read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count, uint64_t flags,
                 bool erase_read) override;
  int clear() override;
  MemoryRange value_containing(uintptr_t address) const override;

  // How many elements there are; for tests and accounts.
  uint32_t size() const { return table_.size(); }

 protected:
  HashMapBase(const MapSpec& spec, const MapEnvironment& environment, unsigned cpu_values);

  bool has_memory() const { return pool_.reserved() && table_.valid(); }
  HashTable& table() { return table_; }
  ElementPool& pool() { return pool_; }
  const ElementPool& pool() const { return pool_; }

  // An element's value as a program on the CPU sees it.
  virtual void* program_value(Element* element, unsigned cpu) const = 0;
  // Copies a value as user space sees it.
  virtual void copy_out(Element* element, void* value, uint64_t flags) const = 0;
  // Lets go of what the fields of an element stand for that has gone.
  virtual void release(Element* element) const = 0;

  bool has_fields() const { return has_fields_; }
  void copy_around_fields(void* to, const void* from, size_t bytes) const;
  void release_value(void* value) const;

 private:
  int read_bucket(uint64_t bucket, uint32_t room, std::byte*& keys, std::byte*& values, uint32_t& copied,
                  uint64_t flags, bool erase_read);
  Element* take(const void* key, ElementPool::Cache& cache);

  bool has_fields_;
  ElementPool pool_;
  HashTable table_;
};

// BPF_MAP_TYPE_HASH. An update of a key that is there puts a new element in the place of the old one.
class HashMap final : public HashMapBase {
  friend SizedLookup<HashMap>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  HashMap(const MapSpec& spec, const MapEnvironment& environment);

  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  StepFunction step_function() const override { return SizedLookup<HashMap>::step; }
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  bool key_of_value(const void* value, void* key) const override;

 protected:
  void* program_value(Element* element, unsigned cpu) const override;
  void copy_out(Element* element, void* value, uint64_t flags) const override;
  void release(Element* element) const override;

 private:
  int put(const void* key, const void* value, uint64_t flags, ElementPool::Cache& cache);
  int put_around_fields(const void* key, const void* value, uint64_t flags, ElementPool::Cache& cache);
};

// BPF_MAP_TYPE_PERCPU_HASH. An update of a key that is there is made in place; a program's touches its CPU's
// value only.
class PerCpuHashMap final : public HashMapBase {
  friend SizedLookup<PerCpuHashMap>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  PerCpuHashMap(const MapSpec& spec, const MapEnvironment& environment);

  size_t user_value_size() const override { return pool().value_stride() * cpus(); }
  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  StepFunction step_function() const override { return SizedLookup<PerCpuHashMap>::step; }
  void* lookup_percpu(const void* key, unsigned cpu) override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int write(const void* key, const void* value, uint64_t flags) override;

 protected:
  void* program_value(Element* element, unsigned cpu) const override;
  void copy_out(Element* element, void* value, uint64_t flags) const override;
  void release(Element* element) const override;
};

}  // namespace skep::maps
