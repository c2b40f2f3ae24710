#include "maps/target_store.hpp"

#include <cstring>
#include <new>
#include <utility>

namespace skep::maps {

TargetStore::TargetStore(EpochDomain& epochs, uint32_t value_size)
    : epochs_(epochs),
      value_size_(value_size),
      pool_(epochs.clock(), {.key_size = sizeof(uint32_t), .value_size = value_size, .cpu_values = 0}, 0) {}

std::unique_ptr<TargetEntry> TargetStore::make(uint32_t key, const TargetValue& value,
                                               std::shared_ptr<Object> program) {
  std::unique_ptr<TargetEntry> entry(new (std::nothrow) TargetEntry);
  ElementPool::TaskCache cache(pool_);
  Element* element = entry != nullptr ? pool_.acquire(cache) : nullptr;
  if (element == nullptr) return nullptr;
  const TargetValue readable{value.number, program ? static_cast<int32_t>(program->id()) : 0};
  std::memcpy(pool_.value(element), &readable, value_size_);
  entry->key = key;
  entry->element = element;
  entry->value = pool_.value(element);
  entry->index = value.number;
  entry->program = std::move(program);
  return entry;
}

void TargetStore::discard(std::unique_ptr<TargetEntry> entry) {
  ElementPool::TaskCache cache(pool_);
  pool_.give_back(cache, entry->element);
}

void TargetStore::retire(TargetEntry* entry) {
  ElementPool::TaskCache cache(pool_);
  pool_.retire(cache, entry->element);
  epochs_.retire(*entry, [](EpochDomain::Retired* node) { delete static_cast<TargetEntry*>(node); });
}

TargetValue read_target_value(const void* value, uint32_t value_size) {
  TargetValue out;
  std::memcpy(&out, value, value_size);
  return out;
}

}  // namespace skep::maps
