#pragma once

#include <memory>

#include "maps/object_hash.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_HASH_OF_MAPS: maps by key. A program's lookup() gives the inner map, which stays until the
// guard ends even if user space deletes it or puts another in its place. User space sets elements through
// put_object() and reads ids; write() refuses, since a descriptor means nothing here. Semantics:
// kernel/bpf/hashtab.c htab_of_map_* and bpf_fd_htab_map_*.
class HashOfMaps final : public ObjectHash {
  friend class SizedLookup<HashOfMaps>;

 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  HashOfMaps(const MapSpec& spec, const MapEnvironment& environment);

  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  int write(const void* key, const void* value, uint64_t flags) override;
  int put_object(const void* key, std::shared_ptr<Object> object, uint64_t flags) override;

 private:
  void* found(Element* element, unsigned cpu) const { return HashOfMaps::program_value(element, cpu); }
};

}  // namespace skep::maps
