#pragma once

#include <cstdint>

#include "maps/map.hpp"

namespace skep::maps {

// Map::read_batch() by next_key() and read(), as the kernel's generic_map_lookup_batch(): the cursor is the
// last key, and what is gone between the two is passed over.
int read_batch_by_keys(Map& map, const void* in, void* out, void* keys, void* values, uint32_t& count,
                       uint64_t flags);

}  // namespace skep::maps
