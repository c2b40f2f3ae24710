#include "maps/socket_value.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>

namespace skep::maps {
namespace {

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

Result<std::shared_ptr<HostObject>> socket_of_value(HostObjects* hosts, const void* value, uint32_t size) {
  uint64_t descriptor = 0;
  std::memcpy(&descriptor, value, size);
  if (descriptor > INT_MAX) return fail(EINVAL, "the value is no descriptor's number");
  if (hosts == nullptr) return fail(EOPNOTSUPP, "there are no sockets");
  const auto number = static_cast<int>(descriptor);
  auto socket = hosts->at(HostKind::kSocket, number);
  if (socket && !is_admitted(number)) return fail(EOPNOTSUPP, "the socket is not admitted");
  return socket;
}

}  // namespace skep::maps
