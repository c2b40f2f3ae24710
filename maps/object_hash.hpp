#pragma once

#include <cstdint>
#include <memory>

#include "maps/epoch.hpp"
#include "maps/hash_map.hpp"

namespace skep::maps {

// Hash types whose values are objects. An object stays until the guard ends, even if its element is deleted
// or replaced. User space alone changes them.
class ObjectHash : public HashMapBase {
 public:
  // Memory for so many elements is reserved; 0: as they are needed.
  ObjectHash(const MapSpec& spec, const MapEnvironment& environment, uint64_t elements);
  ~ObjectHash() override;

  int erase_on(const void* key, unsigned cpu) override;
  int read_and_erase(const void* key, void* value, uint64_t flags) override;
  // Elements are no memory of the program's.
  MemoryRange value_containing(uintptr_t /*address*/) const override { return {}; }
  std::shared_ptr<const InnerTemplate> as_inner() const override { return nullptr; }

 protected:
  struct Holder : EpochDomain::Retired {
    std::shared_ptr<Object> object;
  };
  // The value of an element. Written before the element is published, and not again while it can be reached;
  // but for `holder`, which is nullptr from the time that the object was retired. That is looked at by nobody
  // but the one thread that took the element out of the table, and by those who are alone with the map.
  struct Slot {
    const void* shown = nullptr;  // what the type has others see of the object
    Holder* holder = nullptr;
    uint32_t id = 0;
  };

  static ElementPool::Layout layout(const MapSpec& spec) { return {spec.key_size, sizeof(Slot), 0, 0}; }
  Slot& slot(Element* element) const { return *reinterpret_cast<Slot*>(pool().value(element)); }
  int put(const void* key, std::shared_ptr<Object> object, const void* shown, uint64_t flags);
  // Takes out every element that shows it, and no other.
  void take_shown(const void* shown);

  void* program_value(Element* element, unsigned cpu) const override;
  void copy_out(Element* element, void* value, uint64_t flags) const override;
  void release(Element* element) const override;
  void clear_table() override;

 private:
  EpochDomain& epochs_;
};

}  // namespace skep::maps
