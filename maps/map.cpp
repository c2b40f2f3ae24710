#include "maps/map.hpp"

#include <cerrno>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/map_in_map.hpp"

namespace skep::maps {

Map::Map(MapSpec spec, const MapEnvironment& environment)
    : spec_(std::move(spec)), cpus_(environment.cpus), timers_(environment.timers) {}

Map::~Map() {
  if (timers_ != nullptr && spec_.fields.has(FieldKind::kTimer)) timers_->forget(*this);
}

size_t Map::user_value_size() const { return spec_.value_size; }

// What a type does not override it does not support.
void* Map::lookup(const void* /*key*/, unsigned /*cpu*/) { return nullptr; }
void* Map::lookup_percpu(const void* /*key*/, unsigned /*cpu*/) { return nullptr; }
int Map::update(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/, unsigned /*cpu*/) {
  return -kNotSupported;
}
int Map::erase(const void* /*key*/) { return -kNotSupported; }
int Map::erase_on(const void* key, unsigned /*cpu*/) { return erase(key); }
int Map::push(const void* /*value*/, uint64_t /*flags*/, unsigned /*cpu*/) { return -kNotSupported; }
int Map::pop(void* /*value*/, unsigned /*cpu*/) { return -kNotSupported; }
int Map::peek(void* /*value*/) { return -kNotSupported; }
long Map::for_each(ElementVisitor& /*visitor*/, unsigned /*cpu*/) { return -kNotSupported; }

int Map::read(const void* /*key*/, void* /*value*/, uint64_t /*flags*/) { return -kNotSupported; }
int Map::write(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/) { return -kNotSupported; }
int Map::read_and_erase(const void* /*key*/, void* /*value*/, uint64_t flags) {
  // The kernel looks at the flags before the type.
  return check_read_flags(flags) != 0 ? -EINVAL : -kNotSupported;
}
int Map::next_key(const void* /*key*/, void* /*next*/) { return -kNotSupported; }
int Map::read_batch(const void* /*in*/, void* /*out*/, void* /*keys*/, void* /*values*/, uint32_t& /*count*/,
                    uint64_t /*flags*/, bool /*erase_read*/) {
  return -kNotSupported;
}

int Map::clear() { return -kNotSupported; }

long Map::consume(RecordVisitor& /*visitor*/) { return -kNotSupported; }
std::shared_ptr<const InnerTemplate> Map::as_inner() const {
  return std::make_shared<InnerTemplate>(InnerTemplate::of(spec_, false));
}

void* Map::direct_value() { return nullptr; }
MemoryRange Map::value_containing(uintptr_t /*address*/) const { return {}; }
bool Map::key_of_value(const void* /*value*/, void* /*key*/) const { return false; }

int Map::check_put(const void* /*key*/, uint64_t /*flags*/) const { return 0; }
int Map::put_object(const void* /*key*/, std::shared_ptr<Object> /*object*/, uint64_t /*flags*/) {
  return -kNotSupported;
}
std::shared_ptr<Object> Map::object_at(uint32_t /*index*/) { return nullptr; }
int Map::set_object(uint32_t /*index*/, std::shared_ptr<Object> /*object*/) { return -kNotSupported; }
Object* Map::peek_object(uint32_t /*index*/) { return nullptr; }

// Acquire and release: who sees the map frozen sees what was written before it was. What a command already
// under way may still write is for the caller to wait for, as the kernel counts its writers.
bool Map::frozen() const { return frozen_.load(std::memory_order_acquire); }
void Map::freeze() { frozen_.store(true, std::memory_order_release); }

// Sequentially consistent: whoever sets up a timer makes it known and then asks for the user; whoever lets go
// says so and then looks for timers. One of the two sees the other.
bool Map::used_by_user() const { return used_by_user_.load(); }
void Map::set_used_by_user(bool used) {
  used_by_user_.store(used);
  if (!used && timers_ != nullptr && spec_.fields.has(FieldKind::kTimer)) timers_->release_all(*this);
}

}  // namespace skep::maps
