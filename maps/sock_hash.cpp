#include "maps/sock_hash.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/socket_value.hpp"

namespace skep::maps {
namespace {

// sock_hash_alloc
Result<void> check(const MapSpec& spec) {
  constexpr uint32_t kMaxKey = 512;                  // MAX_BPF_STACK
  constexpr uint64_t kMaxBuckets = UINT32_MAX / 16;  // the kernel's have 16 bytes
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size == 0) return fail(EINVAL, "key_size is 0");
  if (spec.value_size != 4 && spec.value_size != 8)
    return fail(EINVAL, fmt::format("value_size is {}, a descriptor has 4 or 8", spec.value_size));
  const uint32_t unknown = spec.flags & ~uint32_t{BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY};
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  if (spec.key_size > kMaxKey)
    return fail(E2BIG, fmt::format("key_size {} is over the {} of a stack", spec.key_size, kMaxKey));
  if (hash_buckets(spec.max_entries) > kMaxBuckets)
    return fail(EINVAL, "max_entries asks for too many buckets");
  return {};
}

}  // namespace

Result<std::shared_ptr<Map>> SockHash::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check(spec); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<SockHash>(spec, environment);
  if (!map->has_memory()) return fail(ENOMEM, "there is no memory for the hash table");
  if (environment.host_objects != nullptr) environment.host_objects->observe(map);
  return map;
}

SockHash::SockHash(const MapSpec& spec, const MapEnvironment& environment)
    : ObjectHash(spec, environment, 0), hosts_(environment.host_objects) {}

int SockHash::erase(const void* key) {
  refresh();
  return ObjectHash::erase(key);
}

// sock_hash_lookup_sys
int SockHash::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  if (spec().value_size != sizeof(uint64_t)) return -ENOSPC;
  refresh();
  return ObjectHash::read(key, value, flags);
}

// sock_map_update_elem_sys, sock_hash_update_common
int SockHash::write(const void* key, const void* value, uint64_t flags) {
  const auto socket = socket_of_value(hosts_, value, spec().value_size);
  if (!socket) return -socket.error().code;
  HostObject& object = **socket;
  // What has ended is no more where it was.
  if (flags != BPF_ANY) refresh();
  int result = put(key, *socket, &object, flags);
  if (result == -E2BIG) {
    refresh();
    result = put(key, *socket, &object, flags);
  }
  // It may have ended before it could be found here.
  if (result == 0 && !object.confirm_alive()) take_shown(&object);
  return result;
}

int SockHash::next_key(const void* key, void* next) {
  refresh();
  return ObjectHash::next_key(key, next);
}

// Nothing but sockets is put here.
void SockHash::copy_out(Element* element, void* value, uint64_t /*flags*/) const {
  const uint64_t cookie = static_cast<const HostObject*>(slot(element).shown)->number();
  std::memcpy(value, &cookie, sizeof cookie);
}

}  // namespace skep::maps
