#pragma once

#include <cstdint>
#include <memory>

#include "maps/host_object.hpp"

namespace skep::maps {

// The socket whose descriptor user space writes into a map, of 4 or 8 bytes. EINVAL: no descriptor's number.
// EOPNOTSUPP: maps of sockets do not admit it. Others as HostObjects::at(). Semantics: net/core/sock_map.c
// sock_map_update_elem_sys().
Result<std::shared_ptr<HostObject>> socket_of_value(HostObjects* hosts, const void* value, uint32_t size);

}  // namespace skep::maps
