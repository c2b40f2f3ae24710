#include "maps/object_array.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "maps/attributes.hpp"

namespace skep::maps {

namespace {

uint32_t index_of(const void* key) {
  uint32_t index = 0;
  std::memcpy(&index, key, sizeof index);
  return index;
}

}  // namespace

static_assert(sizeof(std::atomic<void*>) == sizeof(void*), "zeroed pages are empty slots");

Result<Mapping> ObjectArray::storage_for(const MapSpec& spec) {
  if (spec.value_size != 4)
    return fail(EINVAL, fmt::format("value_size is {}, a descriptor's is 4", spec.value_size));
  if (!spec.program_may_read() || !spec.program_may_write()) {
    return fail(EINVAL, "an array of objects cannot be restricted for programs");
  }
  if (auto checked = check_array(spec, false); !checked) return std::unexpected(checked.error());
  Mapping storage = slots_for(spec);
  if (!storage) return fail(ENOMEM, "there is no memory for the array");
  return storage;
}

Mapping ObjectArray::slots_for(const MapSpec& spec) {
  return Mapping::anonymous(uint64_t{spec.max_entries} * sizeof(std::atomic<ObjectHolder*>));
}

Result<std::shared_ptr<Map>> ObjectArray::create(const MapSpec& spec, const MapEnvironment& environment) {
  auto storage = storage_for(spec);
  if (!storage) return std::unexpected(storage.error());
  return std::make_shared<ObjectArray>(spec, environment, std::move(*storage));
}

ObjectArray::ObjectArray(const MapSpec& spec, const MapEnvironment& environment, Mapping storage)
    : Map(spec, environment), epochs_(*environment.epochs), storage_(std::move(storage)) {}

ObjectArray::~ObjectArray() {
  // Nobody uses the map any more, so what it holds need not wait, and relaxed loads see all. Counting keeps a
  // large and empty array from being walked.
  uint32_t held = held_.load(std::memory_order_relaxed);
  for (uint32_t index = 0; held != 0; ++index) {
    const std::unique_ptr<Holder> gone(static_cast<Holder*>(slot(index).load(std::memory_order_relaxed)));
    if (gone != nullptr) --held;
  }
}

const ObjectHolder* ObjectArray::holder_at(uint32_t index) const {
  if (index >= spec().max_entries) return nullptr;
  // Acquire: pairs with the exchange that put the holder there.
  return slot(index).load(std::memory_order_acquire);
}

// Puts a holder in place of another and retires that; whether there was one.
bool ObjectArray::exchange(uint32_t index, Holder* holder) {
  count_in(holder);
  // Release: pairs with holder_at(). Acquire: the old holder, which we hand on, was made by another thread.
  return retire(static_cast<Holder*>(slot(index).exchange(holder, std::memory_order_acq_rel)));
}

// Relaxed, here and in retire(): the destructor is alone, and remove_object() says why it is enough there.
// Each is counted before it can be taken out, so there are never more than are counted.
void ObjectArray::count_in(const Holder* holder) {
  if (holder != nullptr) held_.fetch_add(1, std::memory_order_relaxed);
}

// What was taken out, if anything; whether it was.
bool ObjectArray::retire(Holder* old) {
  if (old == nullptr) return false;
  held_.fetch_sub(1, std::memory_order_relaxed);
  epochs_.retire(*old, [](EpochDomain::Retired* node) { delete static_cast<Holder*>(node); });
  return true;
}

int ObjectArray::erase(const void* key) {
  const uint32_t index = index_of(key);
  if (index >= spec().max_entries) return -E2BIG;
  return exchange(index, nullptr) ? 0 : -ENOENT;
}

int ObjectArray::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  const ObjectHolder* holder = holder_at(index_of(key));
  if (holder == nullptr) return -ENOENT;
  const uint32_t id = holder->object->id();
  std::memcpy(value, &id, sizeof id);
  return 0;
}

int ObjectArray::write(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/) { return -EINVAL; }

int ObjectArray::next_key(const void* key, void* next) {
  const uint32_t index = key == nullptr ? UINT32_MAX : index_of(key);
  uint32_t following = 0;
  if (index < spec().max_entries) {
    if (index == spec().max_entries - 1) return -ENOENT;
    following = index + 1;
  }
  std::memcpy(next, &following, sizeof following);
  return 0;
}

// bpf_fd_array_map_update_elem
int ObjectArray::check_put(const void* key, uint64_t flags) const {
  if (flags != BPF_ANY) return -EINVAL;
  return index_of(key) >= spec().max_entries ? -E2BIG : 0;
}

int ObjectArray::put_object(const void* key, std::shared_ptr<Object> object, uint64_t /*flags*/) {
  return set_object(index_of(key), std::move(object));
}

std::shared_ptr<Object> ObjectArray::object_at(uint32_t index) {
  const ObjectHolder* holder = holder_at(index);
  return holder == nullptr ? nullptr : holder->object;
}

// nullptr: no memory.
std::unique_ptr<ObjectArray::Holder> ObjectArray::hold(std::shared_ptr<Object> object) {
  std::unique_ptr<Holder> holder(new (std::nothrow) Holder);
  if (holder == nullptr) return nullptr;
  holder->run_data = object->run_data();
  holder->object = std::move(object);
  return holder;
}

int ObjectArray::put_if(uint32_t index, std::shared_ptr<Object> object, uint64_t flags) {
  std::unique_ptr<Holder> holder = hold(std::move(object));
  if (holder == nullptr) return -ENOMEM;
  count_in(holder.get());
  // Relaxed: looked at for being there at all; the exchange orders the rest as exchange() does.
  ObjectHolder* old = slot(index).load(std::memory_order_relaxed);
  do {
    if (old == nullptr ? flags != BPF_EXIST : flags != BPF_NOEXIST) continue;
    held_.fetch_sub(1, std::memory_order_relaxed);
    return old == nullptr ? -ENOENT : -EEXIST;
  } while (!slot(index).compare_exchange_weak(old, holder.get(), std::memory_order_acq_rel,
                                              std::memory_order_relaxed));
  holder.release();
  retire(static_cast<Holder*>(old));
  return 0;
}

void ObjectArray::remove_object(const Object& object) {
  // Relaxed: what the object was put in by those who did not find that it had ended, and their counting, was
  // before the end (HostObject), and stays counted while it is there.
  for (uint32_t index = 0; index < spec().max_entries && held_.load(std::memory_order_relaxed) != 0;
       ++index) {
    // Acquire: pairs with the exchange that put the holder there.
    ObjectHolder* found = slot(index).load(std::memory_order_acquire);
    if (found == nullptr || found->object.get() != &object) continue;
    // Acquire and release: as exchange(). If it fails another holder is there already.
    if (slot(index).compare_exchange_strong(found, nullptr, std::memory_order_acq_rel,
                                            std::memory_order_relaxed))
      retire(static_cast<Holder*>(found));
  }
}

int ObjectArray::set_object(uint32_t index, std::shared_ptr<Object> object) {
  if (index >= spec().max_entries) return -E2BIG;
  std::unique_ptr<Holder> holder;
  if (object != nullptr) {
    holder = hold(std::move(object));
    if (holder == nullptr) return -ENOMEM;
  }
  exchange(index, holder.release());
  return 0;
}

Object* ObjectArray::peek_object(uint32_t index) {
  const ObjectHolder* holder = holder_at(index);
  return holder == nullptr ? nullptr : holder->object.get();
}

}  // namespace skep::maps
