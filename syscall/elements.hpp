#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "skep/error.hpp"
#include "syscall/objects.hpp"

namespace skep::sys {

struct Call;

struct Intent {
  bool read = false;
  bool write = false;
};

// A map that a command reads or writes elements of. While one that writes is alive the map cannot be frozen.
class MapUse {
 public:
  // EBADF, EINVAL: no map's descriptor. EPERM: the descriptor's access or a frozen map forbids it.
  static Result<MapUse> take(Call& call, uint32_t descriptor, Intent intent);
  MapUse(MapUse&& other) noexcept
      : object_(std::move(other.object_)), writes_(std::exchange(other.writes_, false)) {}
  MapUse& operator=(MapUse&&) = delete;
  ~MapUse() {
    if (writes_) --object_->writers;
  }

  MapObject& object() const { return *object_; }
  maps::Map& map() const { return *object_->map; }

 private:
  MapUse(std::shared_ptr<MapObject> object, bool writes) : object_(std::move(object)), writes_(writes) {
    if (writes_) ++object_->writers;
  }

  std::shared_ptr<MapObject> object_;
  bool writes_;
};

// A key or value on its way: on the stack when it is small.
class Buffer {
 public:
  // false: no memory.
  bool allocate(size_t size);
  std::byte* data() { return outside_ ? outside_.get() : inside_.data(); }
  size_t size() const { return size_; }

 private:
  alignas(8) std::array<std::byte, 256> inside_;
  std::unique_ptr<std::byte[]> outside_;
  size_t size_ = 0;
};

// From now on nobody gets a mapping of the map's memory to write to. Those there are stay, the map's own too.
void forbid_writable_mappings(const maps::Map& map);

// Whether a flag asks for the lock of values that have none, which is refused.
bool lacks_lock(const maps::Map& map, uint64_t flags);
// Writes an element as user space does: into an array of programs goes the program of a descriptor.
long update_value(Call& call, MapObject& object, const void* key, const void* value, uint64_t flags);
long read_value(Call& call, maps::Map& map, const void* key, void* value, uint64_t flags);

}  // namespace skep::sys
