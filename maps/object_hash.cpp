#include "maps/object_hash.hpp"

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/hash_table_impl.hpp"

namespace skep::maps {

ObjectHash::ObjectHash(const MapSpec& spec, const MapEnvironment& environment, uint64_t elements)
    : HashMapBase(spec, environment, layout(spec), elements, true), epochs_(*environment.epochs) {}

ObjectHash::~ObjectHash() { ObjectHash::clear_table(); }

int ObjectHash::erase_on(const void* /*key*/, unsigned /*cpu*/) { return -kNotSupported; }

int ObjectHash::read_and_erase(const void* key, void* value, uint64_t flags) {
  return Map::read_and_erase(key, value, flags);
}

int ObjectHash::put(const void* key, std::shared_ptr<Object> object, const void* shown, uint64_t flags) {
  if (flags > BPF_EXIST) return -EINVAL;
  std::unique_ptr<Holder> holder(new (std::nothrow) Holder);
  if (holder == nullptr) return -ENOMEM;
  holder->object = std::move(object);
  const Slot made{.shown = shown, .holder = holder.get(), .id = holder->object->id()};
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

void ObjectHash::take_shown(const void* shown) {
  ElementPool::TaskCache cache(pool());
  for (uint64_t bucket = 0; bucket < table().buckets(); ++bucket) {
    for (Element* element = table().first(bucket); element != nullptr; element = table().after(element))
      if (slot(element).shown == shown && table().take(element, cache)) release(element);
  }
}

// Nobody else is there, so what the map holds need not wait.
void ObjectHash::clear_table() {
  if (!has_memory()) return;
  table().clear([this](Element* element) { delete std::exchange(slot(element).holder, nullptr); });
}

// The object is the program's to work on, not to look at.
void* ObjectHash::program_value(Element* element, unsigned /*cpu*/) const {
  return const_cast<void*>(slot(element).shown);
}

void ObjectHash::copy_out(Element* element, void* value, uint64_t /*flags*/) const {
  std::memcpy(value, &slot(element).id, sizeof(uint32_t));
}

void ObjectHash::release(Element* element) const {
  Holder* gone = std::exchange(slot(element).holder, nullptr);
  epochs_.retire(*gone, [](EpochDomain::Retired* node) { delete static_cast<Holder*>(node); });
}

}  // namespace skep::maps
