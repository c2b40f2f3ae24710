#include "maps/sock_map.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>

#include "maps/attributes.hpp"

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

std::optional<int> option(int descriptor, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (getsockopt(descriptor, SOL_SOCKET, name, &value, &size) != 0) return std::nullopt;
  return value;
}

bool is_connected(int descriptor) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  return getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &size) == 0;
}

bool has_port(int descriptor) {
  union {
    sockaddr any;
    sockaddr_in four;
    sockaddr_in6 six;
    sockaddr_storage storage;
  } address{};
  socklen_t size = sizeof address;
  if (getsockname(descriptor, &address.any, &size) != 0) return false;
  return (address.any.sa_family == AF_INET6 ? address.six.sin6_port : address.four.sin_port) != 0;
}

// Established or listening.
bool is_in_use(int descriptor) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
         (info.tcpi_state == TCP_ESTABLISHED || info.tcpi_state == TCP_LISTEN);
}

// sock_map_sk_is_suitable() and sock_map_sk_state_allowed(), as far as can be seen from outside.
bool is_admitted(int descriptor) {
  const auto domain = option(descriptor, SO_DOMAIN);
  const auto type = option(descriptor, SO_TYPE);
  const auto protocol = option(descriptor, SO_PROTOCOL);
  if (domain == AF_INET || domain == AF_INET6) {
    if (protocol == IPPROTO_TCP) return is_in_use(descriptor);
    return type == SOCK_DGRAM && protocol == IPPROTO_UDP && has_port(descriptor);
  }
  if (domain == AF_UNIX) return type == SOCK_DGRAM || (type == SOCK_STREAM && is_connected(descriptor));
  if (domain == AF_VSOCK) return type == SOCK_DGRAM || is_connected(descriptor);
  return false;
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
int SockMap::erase(const void* key) { return ObjectArray::erase(key) == 0 ? 0 : -EINVAL; }
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
  uint64_t descriptor = 0;
  std::memcpy(&descriptor, value, spec().value_size);
  if (descriptor > INT_MAX) return -EINVAL;
  if (hosts_ == nullptr) return -EOPNOTSUPP;
  const auto number = static_cast<int>(descriptor);
  auto socket = hosts_->at(HostKind::kSocket, number);
  if (!socket) return -socket.error().code;
  if (!is_admitted(number)) return -EOPNOTSUPP;
  if (flags > BPF_EXIST) return -EINVAL;
  if (index_of(key) >= spec().max_entries) return -E2BIG;
  // What has ended is no more where it was.
  if (flags != BPF_ANY) hosts_->refresh();
  const std::shared_ptr<HostObject> object = std::move(*socket);
  if (const int refused = put_if(index_of(key), object, flags)) return refused;
  // It may have ended before it could be found here.
  if (!object->confirm_alive()) remove_object(*object);
  return 0;
}

}  // namespace skep::maps
