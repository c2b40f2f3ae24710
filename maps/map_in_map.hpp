#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "maps/map.hpp"
#include "maps/object_array.hpp"

// Maps whose values are maps. Semantics: kernel/bpf/map_in_map.c.
namespace skep::maps {

// What the maps in a map of maps have in common, taken from the one that it was created with.
struct InnerTemplate {
  uint32_t type = 0;
  uint32_t key_size = 0;
  uint32_t value_size = 0;
  uint32_t flags = 0;
  uint32_t max_entries = 0;
  bool same_entries = false;  // max_entries has to agree, too
  ValueFields fields;

  static InnerTemplate of(const MapSpec& spec, bool same_entries) {
    return {spec.type,        spec.key_size, spec.value_size, lasting_flags(spec),
            spec.max_entries, same_entries,  spec.fields};
  }
  // bpf_map_meta_equal() and array_map_meta_equal().
  bool admits(const MapSpec& spec) const {
    return spec.type == type && spec.key_size == key_size && spec.value_size == value_size &&
           lasting_flags(spec) == flags && (!same_entries || spec.max_entries == max_entries) &&
           spec.fields == fields;
  }

 private:
  // Without those of the descriptor that the map was created with.
  static uint32_t lasting_flags(const MapSpec& spec) {
    return spec.flags & ~uint32_t{BPF_F_RDONLY | BPF_F_WRONLY};
  }
};

// A map as the value of another: holders of it show the map itself as their run_data.
class InnerMap final : public Object {
 public:
  InnerMap(std::shared_ptr<Map> map, uint32_t id) : map_(std::move(map)), id_(id) {}
  uint32_t id() const override { return id_; }
  const void* run_data() const override { return map_.get(); }

 private:
  std::shared_ptr<Map> map_;
  uint32_t id_;
};

// BPF_MAP_TYPE_ARRAY_OF_MAPS. A program's lookup() gives the inner map, which stays until the guard ends even
// if user space puts another in its place.
class ArrayOfMaps final : public ObjectArray {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  using ObjectArray::ObjectArray;

  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  BatchCommands batch_commands() const override { return {.lookup = true, .update = true}; }
  int read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count, uint64_t flags,
                 bool erase_read) override;
  // Of programs' arrays alone.
  const std::atomic<ObjectHolder*>* object_slots() const override { return nullptr; }
  Object* peek_object(uint32_t /*index*/) override { return nullptr; }
};

}  // namespace skep::maps
