#include "maps/map_in_map.hpp"

#include <cerrno>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/generic_batch.hpp"

namespace skep::maps {

Result<std::shared_ptr<Map>> ArrayOfMaps::create(const MapSpec& spec, const MapEnvironment& environment) {
  auto storage = storage_for(spec);
  if (!storage) return std::unexpected(storage.error());
  if (spec.inner == nullptr) return fail(spec.inner_error, "there is no inner map");
  return std::make_shared<ArrayOfMaps>(spec, environment, std::move(*storage));
}

void* ArrayOfMaps::lookup(const void* key, unsigned /*cpu*/) {
  uint32_t index = 0;
  std::memcpy(&index, key, sizeof index);
  const ObjectHolder* holder = holder_at(index);
  // The program gets a map to work on, not one to look at.
  return holder == nullptr ? nullptr : const_cast<void*>(holder->run_data);
}

Map::LookupFunction ArrayOfMaps::lookup_function() const {
  return [](Map& map, const void* key, unsigned cpu) noexcept {
    return static_cast<ArrayOfMaps&>(map).ArrayOfMaps::lookup(key, cpu);
  };
}

int ArrayOfMaps::read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count,
                            uint64_t flags, bool erase_read) {
  if (erase_read) return -kNotSupported;
  return read_batch_by_keys(*this, in, out, keys, values, count, flags);
}

}  // namespace skep::maps
