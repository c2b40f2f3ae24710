#include "maps/sock_map.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/socket_value.hpp"

namespace skep::maps {
namespace {

uint32_t index_of(const void* key) {
  uint32_t index = 0;
  std::memcpy(&index, key, sizeof index);
  return index;
}

// sock_map_alloc
Result<void> check(const MapSpec& spec) {
  if (spec.max_entries == 0 || spec.max_entries > INT_MAX)
    return fail(EINVAL, fmt::format("max_entries is {}, not between 1 and 2^31 - 1", spec.max_entries));
  if (spec.key_size != 4) return fail(EINVAL, fmt::format("key_size is {}, an index has 4", spec.key_size));
  if (spec.value_size != 4 && spec.value_size != 8)
    return fail(EINVAL, fmt::format("value_size is {}, a descriptor has 4 or 8", spec.value_size));
  const uint32_t unknown = spec.flags & ~uint32_t{BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY};
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  return {};
}

}  // namespace

Result<std::shared_ptr<Map>> SockMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check(spec); !checked) return std::unexpected(checked.error());
  Mapping storage = slots_for(spec);
  if (!storage) return fail(ENOMEM, "there is no memory for the map");
  auto map = std::make_shared<SockMap>(spec, environment, std::move(storage));
  if (environment.host_objects != nullptr) environment.host_objects->observe(map);
  return map;
}

SockMap::SockMap(const MapSpec& spec, const MapEnvironment& environment, Mapping storage)
    : ObjectArray(spec, environment, std::move(storage)), hosts_(environment.host_objects) {}

// sock_map_delete_elem
int SockMap::erase(const void* key) {
  if (hosts_ != nullptr) hosts_->refresh();
  return ObjectArray::erase(key) == 0 ? 0 : -EINVAL;
}
int SockMap::erase_on(const void* /*key*/, unsigned /*cpu*/) { return -kNotSupported; }

// sock_map_lookup_sys
int SockMap::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  if (spec().value_size != sizeof(uint64_t)) return -ENOSPC;
  if (hosts_ != nullptr) hosts_->refresh();
  const ObjectHolder* holder = holder_at(index_of(key));
  if (holder == nullptr) return -ENOENT;
  // Nothing but sockets is put there.
  const uint64_t cookie = static_cast<const HostObject&>(*holder->object).number();
  std::memcpy(value, &cookie, sizeof cookie);
  return 0;
}

// sock_map_update_elem_sys
int SockMap::write(const void* key, const void* value, uint64_t flags) {
  const auto socket = socket_of_value(hosts_, value, spec().value_size);
  if (!socket) return -socket.error().code;
  if (flags > BPF_EXIST) return -EINVAL;
  if (index_of(key) >= spec().max_entries) return -E2BIG;
  // What has ended is no more where it was.
  if (flags != BPF_ANY) hosts_->refresh();
  const std::shared_ptr<HostObject>& object = *socket;
  if (const int refused = put_if(index_of(key), object, flags)) return refused;
  // It may have ended before it could be found here.
  if (!object->confirm_alive()) remove_object(*object);
  return 0;
}

}  // namespace skep::maps
