#pragma once

#include <memory>
#include <utility>

#include "maps/map_in_map.hpp"
#include "maps/object_array.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_CGROUP_ARRAY: the host's cgroups by index; its objects are HostObjects. User space puts them
// in and takes them out and does not get them back. Semantics: kernel/bpf/arraymap.c cgroup_array_map_ops.
class CgroupArray final : public ObjectArray {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  using ObjectArray::ObjectArray;

  int read(const void* key, void* value, uint64_t flags) override;
  bool holds_cgroups() const override { return true; }
  // Of programs' arrays alone.
  const std::atomic<ObjectHolder*>* object_slots() const override { return nullptr; }
  std::shared_ptr<const InnerTemplate> as_inner() const override {
    return std::make_shared<InnerTemplate>(InnerTemplate::of(spec(), false));
  }
};

}  // namespace skep::maps
