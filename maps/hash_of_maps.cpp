#include "maps/hash_of_maps.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/sized_lookup.hpp"

namespace skep::maps {

Result<std::shared_ptr<Map>> HashOfMaps::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (spec.value_size != 4)
    return fail(EINVAL, fmt::format("value_size is {}, a descriptor's is 4", spec.value_size));
  if (auto checked = check_hash(spec, {}); !checked) return std::unexpected(checked.error());
  if (spec.inner == nullptr) return fail(spec.inner_error, "there is no inner map");
  auto map = std::make_shared<HashOfMaps>(spec, environment);
  if (!map->has_memory()) return fail(ENOMEM, "there is no memory for the hash table");
  return map;
}

HashOfMaps::HashOfMaps(const MapSpec& spec, const MapEnvironment& environment)
    : ObjectHash(spec, environment, elements_to_reserve(spec, environment, layout(spec))) {}

void* HashOfMaps::lookup(const void* key, unsigned cpu) {
  Element* element = table().find(key);
  return element == nullptr ? nullptr : found(element, cpu);
}

Map::LookupFunction HashOfMaps::lookup_function() const {
  return SizedLookup<HashOfMaps>::function_for(spec().key_size);
}

int HashOfMaps::write(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/) { return -EINVAL; }

int HashOfMaps::put_object(const void* key, std::shared_ptr<Object> object, uint64_t flags) {
  const void* run_data = object->run_data();
  return put(key, std::move(object), run_data, flags);
}

}  // namespace skep::maps
