#include "maps/cgroup_array.hpp"

#include <cerrno>

#include "maps/attributes.hpp"

namespace skep::maps {

Result<std::shared_ptr<Map>> CgroupArray::create(const MapSpec& spec, const MapEnvironment& environment) {
  auto storage = storage_for(spec);
  if (!storage) return std::unexpected(storage.error());
  return std::make_shared<CgroupArray>(spec, environment, std::move(*storage));
}

int CgroupArray::read(const void* /*key*/, void* /*value*/, uint64_t flags) {
  return check_read_flags(flags) != 0 ? -EINVAL : -kNotSupported;
}

}  // namespace skep::maps
