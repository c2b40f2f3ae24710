#pragma once

#include <memory>

#include "maps/element_pool.hpp"
#include "maps/hash_table.hpp"
#include "maps/map.hpp"

namespace skep::maps {

template <class Type>
class SizedLookup;

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
  virtual uint32_t size() const { return table_.size(); }

 protected:
  // `cpu_values` and `prefix` as in ElementPool::Layout; memory for `elements` is reserved.
  HashMapBase(const MapSpec& spec, const MapEnvironment& environment, unsigned cpu_values, uint64_t elements,
              uint32_t prefix = 0);

  bool has_memory() const { return pool_.reserved() && table_.valid(); }
  HashTable& table() { return table_; }
  const HashTable& table() const { return table_; }
  ElementPool& pool() { return pool_; }
  const ElementPool& pool() const { return pool_; }

  // An element's value as a program on the CPU sees it.
  virtual void* program_value(Element* element, unsigned cpu) const = 0;
  // Copies a value as user space sees it.
  virtual void copy_out(Element* element, void* value, uint64_t flags) const = 0;
  // Lets go of what the fields of an element stand for that has gone.
  virtual void release(Element* element) const = 0;
  // Deletes the key; the element is the caller's to read until its guard ends.
  virtual Element* take(const void* key, ElementPool::Cache& cache) { return table_.take(key, cache); }
  virtual void clear_table() { table_.clear(); }

  // One step of a walk; nullptr: there are no more.
  Element* next_element(WalkPosition& position) const;

  bool has_fields() const { return has_fields_; }
  void copy_around_fields(void* to, const void* from, size_t bytes) const;
  void release_value(void* value) const;

 private:
  int read_bucket(uint64_t bucket, uint32_t room, std::byte*& keys, std::byte*& values, uint32_t& copied,
                  uint64_t flags, bool erase_read);
  Element* take_and_release(const void* key, ElementPool::Cache& cache);

  bool has_fields_;
  ElementPool pool_;
  HashTable table_;
};

// Hash types with one value for each element, beside its key.
class SingleValueHash : public HashMapBase {
 public:
  SingleValueHash(const MapSpec& spec, const MapEnvironment& environment, uint64_t elements,
                  uint32_t prefix = 0)
      : HashMapBase(spec, environment, 0, elements, prefix) {}

  StepFunction step_function() const override;
  bool key_of_value(const void* value, void* key) const override;

 protected:
  void* program_value(Element* element, unsigned cpu) const override;
  void copy_out(Element* element, void* value, uint64_t flags) const override;
  void release(Element* element) const override;
  // Writes the value of an element that is new.
  void fill(Element* element, const void* value) const;
};

// Hash types with a value for each CPU.
class PerCpuHash : public HashMapBase {
 public:
  PerCpuHash(const MapSpec& spec, const MapEnvironment& environment, uint64_t elements, uint32_t prefix = 0)
      : HashMapBase(spec, environment, environment.cpus, elements, prefix) {}

  size_t user_value_size() const override { return pool().value_stride() * cpus(); }
  StepFunction step_function() const override;
  void* lookup_percpu(const void* key, unsigned cpu) override;

 protected:
  void* program_value(Element* element, unsigned cpu) const override;
  void copy_out(Element* element, void* value, uint64_t flags) const override;
  void release(Element* element) const override;
  // A program's value, written over that of its CPU, and into an element that is new.
  void change(Element* element, const void* value, unsigned cpu) const;
  void fill(Element* element, const void* value, unsigned cpu) const;
  // User space's value, written over those of all CPUs.
  void change_all(Element* element, const void* value) const;
};

// BPF_MAP_TYPE_HASH. An update of a key that is there puts a new element in the place of the old one.
class HashMap final : public SingleValueHash {
  friend class SizedLookup<HashMap>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  HashMap(const MapSpec& spec, const MapEnvironment& environment);

  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int write(const void* key, const void* value, uint64_t flags) override;

 private:
  void* found(Element* element, unsigned cpu) const { return HashMap::program_value(element, cpu); }
  int put(const void* key, const void* value, uint64_t flags, ElementPool::Cache& cache);
  int put_around_fields(const void* key, const void* value, uint64_t flags, ElementPool::Cache& cache);
};

// BPF_MAP_TYPE_PERCPU_HASH. An update of a key that is there is made in place; a program's touches its CPU's
// value only.
class PerCpuHashMap final : public PerCpuHash {
  friend class SizedLookup<PerCpuHashMap>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  PerCpuHashMap(const MapSpec& spec, const MapEnvironment& environment);

  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int write(const void* key, const void* value, uint64_t flags) override;

 private:
  void* found(Element* element, unsigned cpu) const { return PerCpuHashMap::program_value(element, cpu); }
};

}  // namespace skep::maps
