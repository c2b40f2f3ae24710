#pragma once

#include <cstdint>
#include <memory>

#include "maps/epoch.hpp"
#include "maps/hash_map.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_HASH_OF_MAPS: maps by key. A program's lookup() gives the inner map, which stays until the
// guard ends even if user space deletes it or puts another in its place. User space sets elements through
// put_object() and reads ids; write() refuses, since a descriptor means nothing here. Semantics:
// kernel/bpf/hashtab.c htab_of_map_* and bpf_fd_htab_map_*.
class HashOfMaps final : public HashMapBase {
  friend class SizedLookup<HashOfMaps>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  HashOfMaps(const MapSpec& spec, const MapEnvironment& environment);
  ~HashOfMaps() override;

  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  // What programs may not do, as the kernel's verifier has it.
  int erase_on(const void* key, unsigned cpu) override;
  long for_each(ElementVisitor& visitor, unsigned cpu) override;

  int write(const void* key, const void* value, uint64_t flags) override;
  int read_and_erase(const void* key, void* value, uint64_t flags) override;
  int put_object(const void* key, std::shared_ptr<Object> object, uint64_t flags) override;
  // Elements are no memory of the program's.
  MemoryRange value_containing(uintptr_t /*address*/) const override { return {}; }
  std::shared_ptr<const InnerTemplate> as_inner() const override { return nullptr; }

 protected:
  void* program_value(Element* element, unsigned cpu) const override;
  void copy_out(Element* element, void* value, uint64_t flags) const override;
  void release(Element* element) const override;
  void clear_table() override;

 private:
  struct Holder : EpochDomain::Retired {
    std::shared_ptr<Object> object;
  };
  // The value of an element. Written before the element is published, and not again while it can be reached;
  // but for `holder`, which is nullptr from the time that the object was retired. That is looked at by nobody
  // but the one thread that took the element out of the table, and by those who are alone with the map.
  struct Slot {
    void* map = nullptr;
    Holder* holder = nullptr;
    uint32_t id = 0;
  };

  static ElementPool::Layout layout(const MapSpec& spec) { return {spec.key_size, sizeof(Slot), 0, 0}; }
  void* found(Element* element, unsigned cpu) const { return HashOfMaps::program_value(element, cpu); }
  Slot& slot(Element* element) const { return *reinterpret_cast<Slot*>(pool().value(element)); }

  EpochDomain& epochs_;
};

}  // namespace skep::maps
