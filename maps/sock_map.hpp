#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "maps/host_object.hpp"
#include "maps/map_in_map.hpp"
#include "maps/object_array.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_SOCKMAP: the host's sockets by index. User space puts in descriptors and, where values have 8
// bytes, reads cookies. A socket that was closed everywhere is taken out when a command comes next that asks
// for what is there. Semantics: net/core/sock_map.c.
class SockMap final : public ObjectArray, public HostObserver {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  SockMap(const MapSpec& spec, const MapEnvironment& environment, Mapping storage);

  int erase(const void* key) override;
  int erase_on(const void* key, unsigned cpu) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  std::shared_ptr<const InnerTemplate> as_inner() const override {
    return std::make_shared<InnerTemplate>(InnerTemplate::of(spec(), false));
  }
  void host_object_ended(HostObject& object) override { remove_object(object); }
  // Of programs' arrays alone.
  const std::atomic<ObjectHolder*>* object_slots() const override { return nullptr; }

 private:
  HostObjects* hosts_;
};

}  // namespace skep::maps
