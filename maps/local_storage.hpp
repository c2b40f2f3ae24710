#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "maps/element_pool.hpp"
#include "maps/hash_table.hpp"
#include "maps/host_object.hpp"
#include "maps/map.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_CGRP_STORAGE, which the host's <linux/bpf.h> may not have yet.
inline constexpr uint32_t kCgroupStorage = 32;

// Maps whose elements belong to sockets, tasks, inodes or cgroups: one element for each owner. User space
// names the owner by a descriptor, programs by a pointer. Semantics: kernel/bpf/bpf_local_storage.c.
//
// The kernel hangs the elements on their owners. Here the map has a hash table whose keys are the owners'
// addresses, so its guarantees hold for programs: lookups are wait-free, creation and deletion lock-free, and
// values stay until the epoch guard ends. Each element holds its owner (HostObject::hold()), so that no two
// owners have one address, and goes when the owner has ended.
class LocalStorageMap final : public Map, public HostObserver {
 public:
  // As the map types' rows have it, one for each kind of owner.
  template <HostKind kKind>
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment) {
    return create_for(kKind, spec, environment);
  }
  LocalStorageMap(HostKind kind, const MapSpec& spec, const MapEnvironment& environment);
  ~LocalStorageMap() override;

  // Whose storage it is; an owner of another kind has none.
  HostKind kind() const { return kind_; }

  // Program side. The owner is there until the caller's guard ends.
  //
  // The owner's value; where there is none and `create` says so a new one: what `initial` points at, or
  // zeroes. nullptr: none, no memory, or the owner has ended.
  void* get(HostObject& owner, const void* initial, bool create, unsigned cpu);
  // -ENOENT: there is none.
  int remove(HostObject& owner, unsigned cpu);
  // By key there is nothing for programs.
  int erase_on(const void* key, unsigned cpu) override;

  // User side: the key is a descriptor.
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  int erase(const void* key) override;
  int read_and_erase(const void* key, void* value, uint64_t flags) override;

  int clear() override;
  MemoryRange value_containing(uintptr_t address) const override;
  LocalStorageMap* local_storage() override { return this; }

  void host_object_ended(HostObject& object) override;

  // How many elements there are; for tests and accounts.
  uint32_t size() const { return table_.size(); }

 private:
  class Hold;

  static Result<std::shared_ptr<Map>> create_for(HostKind kind, const MapSpec& spec,
                                                 const MapEnvironment& environment);
  Result<std::shared_ptr<HostObject>> owner_of(const void* key) const;
  Element* find(const HostObject& owner) const;
  void fill(Element* element, const void* value) const;
  // `filled`: the element put in, where one was.
  int put(HostObject& owner, const void* value, uint64_t flags, ElementPool::Cache& cache,
          Element** filled = nullptr);
  int take(HostObject& owner, ElementPool::Cache& cache);
  void let_go_of_owners();

  const HostKind kind_;
  HostObjects* host_objects_;
  ElementPool pool_;
  HashTable table_;
};

}  // namespace skep::maps
