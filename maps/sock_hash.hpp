#pragma once

#include <memory>

#include "maps/host_object.hpp"
#include "maps/map_in_map.hpp"
#include "maps/object_hash.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_SOCKHASH: the host's sockets by key. User space puts in descriptors and, where values have 8
// bytes, reads cookies. A socket that was closed everywhere is taken out when a command comes next that asks
// for what is there. Semantics: net/core/sock_map.c.
class SockHash final : public ObjectHash, public HostObserver {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  SockHash(const MapSpec& spec, const MapEnvironment& environment);

  BatchCommands batch_commands() const override { return {}; }
  int erase(const void* key) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  int next_key(const void* key, void* next) override;
  std::shared_ptr<const InnerTemplate> as_inner() const override {
    return std::make_shared<InnerTemplate>(InnerTemplate::of(spec(), false));
  }
  void host_object_ended(HostObject& object) override { take_shown(&object); }

 protected:
  void copy_out(Element* element, void* value, uint64_t flags) const override;

 private:
  // Lets go of sockets that have ended.
  void refresh() {
    if (hosts_ != nullptr) hosts_->refresh();
  }

  HostObjects* hosts_;
};

}  // namespace skep::maps
