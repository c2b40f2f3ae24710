#pragma once

#include <memory>
#include <vector>

#include "maps/map.hpp"
#include "maps/map_in_map.hpp"
#include "maps/redirect_map.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_XSKMAP. Its values are AF_XDP sockets of the machine's devices, of which there are none: no
// element can be made, so the map is always empty. Semantics: net/xdp/xskmap.c.
class XskMap final : public Map, public RedirectMap {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  XskMap(const MapSpec& spec, const MapEnvironment& environment) : Map(spec, environment) {}

  int erase(const void* key) override;
  int read(const void* key, void* value, uint64_t flags) override;
  // EBADF: no descriptor. ENOTSOCK: no socket's. EOPNOTSUPP: any socket is of another network than the
  // machine's.
  int write(const void* key, const void* value, uint64_t flags) override;
  int next_key(const void* key, void* next) override;
  RedirectMap* redirects() override { return this; }
  // xsk_map_meta_equal
  std::shared_ptr<const InnerTemplate> as_inner() const override {
    return std::make_shared<InnerTemplate>(InnerTemplate::of(spec(), true));
  }

  RedirectKind redirect_kind() const override { return RedirectKind::kSocket; }
  uint32_t entry_attach_type() const override { return 0; }
  uint64_t redirect_flags() const override { return 0; }
  const RedirectTarget* target(uint32_t /*key*/) const override { return nullptr; }
  std::vector<const RedirectTarget*> targets() const override { return {}; }
  int write_entry(const void* key, const void* value, uint64_t flags,
                  const ProgramFinder& /*find_program*/) override {
    return write(key, value, flags);
  }
  int clear() override { return 0; }
};

}  // namespace skep::maps
