#pragma once

#include <sys/mman.h>

#include "maps/mapping.hpp"

namespace skep::maps {

// Asks for pages of 2 MiB under memory that is read at random: without them a table of millions of elements
// misses the processor's table of pages more often than its caches. They are committed, and filled with
// zeroes, as a whole, so small tables, and what is touched in a few places only, do not have them. A hint:
// where the host has none, nothing changes.
inline void prefer_huge_pages(const Mapping& memory) {
  constexpr size_t kWorthwhile = size_t{8} << 20;
  if (memory.size() >= kWorthwhile) madvise(memory.data(), memory.size(), MADV_HUGEPAGE);
}

}  // namespace skep::maps
