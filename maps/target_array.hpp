#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "maps/mapping.hpp"
#include "maps/target_store.hpp"
#include "maps/touched_slots.hpp"

namespace skep::maps {

// Slots with an entry or none: DEVMAP's and CPUMAP's. Lookups are wait-free, changes lock-free: an exchange.
class TargetArray {
 public:
  // Check valid() afterwards.
  TargetArray(TargetStore& store, uint32_t slots);
  TargetArray(const TargetArray&) = delete;
  TargetArray& operator=(const TargetArray&) = delete;
  ~TargetArray();

  bool valid() const { return static_cast<bool>(slots_) && touched_.valid(); }

  const TargetEntry* at(uint32_t index) const {
    if (index >= size_) return nullptr;
    // Acquire: pairs with the exchange that put the entry there.
    return slot(index).load(std::memory_order_acquire);
  }
  // nullptr empties the slot.
  void set(uint32_t index, std::unique_ptr<TargetEntry> entry);
  // In the order of the slots; walks all of them, as the kernel does.
  std::vector<const RedirectTarget*> all() const;
  // Costs by the slots ever used.
  void clear();

 private:
  std::atomic<TargetEntry*>& slot(uint64_t index) const {
    return reinterpret_cast<std::atomic<TargetEntry*>*>(slots_.data())[index];
  }

  TargetStore& store_;
  uint32_t size_;
  Mapping slots_;
  TouchedSlots touched_;
};

// BPF_MAP_GET_NEXT_KEY of a map of slots: every index is a key, be there an element or not.
int next_index(const void* key, uint32_t slots, void* next);

}  // namespace skep::maps
