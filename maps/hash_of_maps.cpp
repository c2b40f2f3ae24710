#include "maps/hash_of_maps.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/hash_table_impl.hpp"
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
    : HashMapBase(spec, environment, layout(spec), elements_to_reserve(spec, environment, layout(spec)),
                  true),
      epochs_(*environment.epochs) {}

HashOfMaps::~HashOfMaps() { HashOfMaps::clear_table(); }

void* HashOfMaps::lookup(const void* key, unsigned cpu) {
  Element* element = table().find(key);
  return element == nullptr ? nullptr : found(element, cpu);
}

Map::LookupFunction HashOfMaps::lookup_function() const {
  return SizedLookup<HashOfMaps>::function_for(spec().key_size);
}

int HashOfMaps::erase_on(const void* /*key*/, unsigned /*cpu*/) { return -kNotSupported; }
long HashOfMaps::for_each(ElementVisitor& /*visitor*/, unsigned /*cpu*/) { return -kNotSupported; }

int HashOfMaps::write(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/) { return -EINVAL; }

int HashOfMaps::read_and_erase(const void* key, void* value, uint64_t flags) {
  return Map::read_and_erase(key, value, flags);
}

int HashOfMaps::put_object(const void* key, std::shared_ptr<Object> object, uint64_t flags) {
  if (flags > BPF_EXIST) return -EINVAL;
  std::unique_ptr<Holder> holder(new (std::nothrow) Holder);
  if (holder == nullptr) return -ENOMEM;
  holder->object = std::move(object);
  // The inner map is the program's to work on, not to look at.
  const Slot made{.map = const_cast<void*>(holder->object->run_data()),
                  .holder = holder.get(),
                  .id = holder->object->id()};
  Element* filled = nullptr;
  ElementPool::TaskCache cache(pool());
  const int result = table().put(
      key, flags, cache,
      [&](Element* element) {
        filled = element;
        slot(element) = made;
      },
      [this](Element* replaced) { release(replaced); });
  if (result == 0)
    holder.release();
  else if (filled != nullptr)
    slot(filled).holder = nullptr;  // given back to our cache, so that it is ours still
  return result;
}

// Nobody else is there, so what the map holds need not wait.
void HashOfMaps::clear_table() {
  if (!has_memory()) return;
  table().clear([this](Element* element) { delete std::exchange(slot(element).holder, nullptr); });
}

void* HashOfMaps::program_value(Element* element, unsigned /*cpu*/) const { return slot(element).map; }

void HashOfMaps::copy_out(Element* element, void* value, uint64_t /*flags*/) const {
  std::memcpy(value, &slot(element).id, sizeof(uint32_t));
}

void HashOfMaps::release(Element* element) const {
  Holder* gone = std::exchange(slot(element).holder, nullptr);
  epochs_.retire(*gone, [](EpochDomain::Retired* node) { delete static_cast<Holder*>(node); });
}

}  // namespace skep::maps
