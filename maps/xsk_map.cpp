#include "maps/xsk_map.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/target_array.hpp"

namespace skep::maps {
namespace {

uint32_t number_at(const void* bytes) {
  uint32_t number = 0;
  std::memcpy(&number, bytes, sizeof number);
  return number;
}

}  // namespace

// xsk_map_alloc
Result<std::shared_ptr<Map>> XskMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size != 4 || spec.value_size != 4)
    return fail(EINVAL, fmt::format("key_size is {} and value_size {}, a socket map's are 4", spec.key_size,
                                    spec.value_size));
  const uint32_t unknown = spec.flags & ~uint32_t{BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY};
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  return std::make_shared<XskMap>(spec, environment);
}

int XskMap::erase(const void* key) { return number_at(key) >= spec().max_entries ? -EINVAL : 0; }

// xsk_map_lookup_elem_sys_only: user space does not get its sockets back.
int XskMap::read(const void* /*key*/, void* /*value*/, uint64_t /*flags*/) { return -EOPNOTSUPP; }

// xsk_map_update_elem
int XskMap::write(const void* key, const void* value, uint64_t flags) {
  if (flags > BPF_EXIST) return -EINVAL;
  if (number_at(key) >= spec().max_entries) return -E2BIG;
  struct stat status{};
  if (fstat(static_cast<int>(number_at(value)), &status) != 0) return -EBADF;
  return S_ISSOCK(status.st_mode) ? -EOPNOTSUPP : -ENOTSOCK;
}

int XskMap::next_key(const void* key, void* next) { return next_index(key, spec().max_entries, next); }

}  // namespace skep::maps
