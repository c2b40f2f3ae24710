#include "maps/target_array.hpp"

#include <cerrno>
#include <cstring>

namespace skep::maps {

static_assert(sizeof(std::atomic<TargetEntry*>) == sizeof(void*), "zeroed pages are empty slots");

TargetArray::TargetArray(TargetStore& store, uint32_t slots)
    : store_(store),
      size_(slots),
      slots_(Mapping::anonymous(uint64_t{slots} * sizeof(std::atomic<TargetEntry*>))),
      touched_(slots) {}

TargetArray::~TargetArray() {
  if (!valid()) return;
  // Nobody uses the map any more, so what it holds need not wait, and relaxed loads see all.
  touched_.for_each([this](uint64_t index) { delete slot(index).load(std::memory_order_relaxed); });
}

void TargetArray::set(uint32_t index, std::unique_ptr<TargetEntry> entry) {
  if (entry != nullptr) touched_.mark(index);
  // Release: pairs with at(). Acquire: the old entry, which we hand on, was made by another thread.
  TargetEntry* old = slot(index).exchange(entry.release(), std::memory_order_acq_rel);
  if (old != nullptr) store_.retire(old);
}

std::vector<const RedirectTarget*> TargetArray::all() const {
  std::vector<const RedirectTarget*> found;
  for (uint32_t index = 0; index < size_; ++index)
    if (const TargetEntry* entry = at(index)) found.push_back(entry);
  return found;
}

void TargetArray::clear() {
  touched_.drain([this](uint64_t index) { set(static_cast<uint32_t>(index), nullptr); });
}

int next_index(const void* key, uint32_t slots, void* next) {
  uint32_t index = UINT32_MAX;
  if (key != nullptr) std::memcpy(&index, key, sizeof index);
  if (slots != 0 && index == slots - 1) return -ENOENT;
  const uint32_t following = index < slots ? index + 1 : 0;
  std::memcpy(next, &following, sizeof following);
  return 0;
}

}  // namespace skep::maps
