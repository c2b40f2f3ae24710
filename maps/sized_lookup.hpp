#pragma once

#include <cstdint>

#include "maps/hash_table.hpp"
#include "maps/map.hpp"

namespace skep::maps {

// The functions that lookup_function() gives out: what the maps' lookup() does, made for a map type and a key
// size, one template for all. The type befriends it and has found(element, cpu), the value for a program.
template <class Type>
class SizedLookup {
 public:
  static Map::LookupFunction function_for(uint32_t key_size) {
    switch (key_size) {
      case 4:
        return find<4>;
      case 8:
        return find<8>;
      case 16:
        return find<16>;
      default:
        return [](Map& map, const void* key, unsigned cpu) noexcept {
          return static_cast<Type&>(map).Type::lookup(key, cpu);
        };
    }
  }

 private:
  template <uint32_t kKeySize>
  static void* find(Map& map, const void* key, unsigned cpu) noexcept {
    auto& self = static_cast<Type&>(map);
    Element* element = self.table().template find_sized<kKeySize>(key);
    return element == nullptr ? nullptr : self.found(element, cpu);
  }
};

}  // namespace skep::maps
