#pragma once

#include <memory>

#include "maps/map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// What the array types share: a key is an index, every element exists from the beginning and none can be
// deleted. Semantics: kernel/bpf/arraymap.c and, for batches, generic_map_lookup_batch() in syscall.c.
class ArrayBase : public Map {
 public:
  int erase(const void* key) override;
  int next_key(const void* key, void* next) override;
  // Array sizes are the same but with BPF_F_INNER_MAP: code that looks up knows them.
  std::shared_ptr<const InnerTemplate> as_inner() const override;
  BatchCommands batch_commands() const override { return {.lookup = true, .update = true}; }
  int read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count, uint64_t flags,
                 bool erase_read) override;

 protected:
  ArrayBase(const MapSpec& spec, const MapEnvironment& environment, Mapping storage);

  static uint32_t index_of(const void* key);
  bool holds(uint64_t index) const { return index < spec().max_entries; }
  // What an update says before it touches an element, for a program and for user space.
  int check_update(uint32_t index, uint64_t flags) const;
  // Into an element and out of it, around the value's fields; BPF_F_LOCK: under its lock.
  void copy_in(std::byte* to, const void* from, size_t bytes, uint64_t flags) const;
  void copy_out(void* to, std::byte* from, size_t bytes, uint64_t flags) const;
  size_t element_size() const { return element_size_; }
  const Mapping& storage() const { return storage_; }

 private:
  size_t element_size_;
  Mapping storage_;
};

// BPF_MAP_TYPE_ARRAY. Elements lie one after another, each rounded up to 8 bytes; updates are made in place.
class ArrayMap final : public ArrayBase {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  ArrayMap(const MapSpec& spec, const MapEnvironment& environment, Mapping storage);

  void* lookup(const void* key, unsigned cpu) override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  StepFunction step_function() const override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  void* direct_value() override;
  std::optional<ArrayLayout> array_layout() const override {
    return ArrayLayout{storage().data(), element_size(), 0};
  }
  MemoryRange value_containing(uintptr_t address) const override;
  bool key_of_value(const void* value, void* key) const override;
  int memory_descriptor() const override { return storage().descriptor(); }

 private:
  std::byte* value_at(uint32_t index) const { return storage().data() + element_size() * index; }
};

// BPF_MAP_TYPE_PERCPU_ARRAY. Each CPU has an array of its own on cache lines of its own.
class PerCpuArrayMap final : public ArrayBase {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  PerCpuArrayMap(const MapSpec& spec, const MapEnvironment& environment, Mapping storage);

  size_t user_value_size() const override { return element_size() * cpus(); }
  void* lookup(const void* key, unsigned cpu) override;
  void* lookup_percpu(const void* key, unsigned cpu) override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  StepFunction step_function() const override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  std::optional<ArrayLayout> array_layout() const override {
    return ArrayLayout{storage().data(), element_size(), cpu_stride_};
  }
  MemoryRange value_containing(uintptr_t address) const override;

 private:
  std::byte* value_at(uint32_t index, unsigned cpu) const {
    return storage().data() + cpu_stride_ * cpu + element_size() * index;
  }

  size_t cpu_stride_;
};

}  // namespace skep::maps
