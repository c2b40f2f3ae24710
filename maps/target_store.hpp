#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "maps/element_pool.hpp"
#include "maps/epoch.hpp"
#include "maps/redirect_map.hpp"

namespace skep::maps {

// struct bpf_devmap_val and struct bpf_cpumap_val: a number, and on writing a program's descriptor, on
// reading its id.
struct TargetValue {
  uint32_t number = 0;
  int32_t program = 0;
};

// An element of a map of targets. Made whole, never changed, and let go of when no guard can reach it.
struct TargetEntry final : RedirectTarget, EpochDomain::Retired {
  uint32_t key = 0;
  Element* element = nullptr;  // of the store's pool: holds the value as programs read it
  void* value = nullptr;
};

// Makes and retires the elements of a map. Their values lie in a pool, where checked execution finds them by
// their address. Thread-safe; everything but value_containing() is called inside a guard.
class TargetStore {
 public:
  TargetStore(EpochDomain& epochs, uint32_t value_size);

  // nullptr: no memory.
  std::unique_ptr<TargetEntry> make(uint32_t key, const TargetValue& value, std::shared_ptr<Object> program);
  // An entry that nobody else has seen.
  void discard(std::unique_ptr<TargetEntry> entry);
  // An entry that was unlinked.
  void retire(TargetEntry* entry);

  MemoryRange value_containing(uintptr_t address) const { return pool_.value_containing(address); }

 private:
  EpochDomain& epochs_;
  uint32_t value_size_;
  ElementPool pool_;
};

// A user-side value of 4 or 8 bytes.
TargetValue read_target_value(const void* value, uint32_t value_size);

}  // namespace skep::maps
