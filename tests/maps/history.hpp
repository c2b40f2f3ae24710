#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace skep::maps {

enum class Kind : uint8_t { kLookup, kPut, kTake };

// An operation on a table and what came of it.
struct Operation {
  Kind kind = Kind::kLookup;
  uint32_t key = 0;
  uint64_t flags = 0;   // of a put
  uint64_t value = 0;   // of a put; every one writes another
  int result = 0;       // of a put
  uint64_t found = 0;   // of a lookup or a take: the value, or 0
  uint64_t called = 0;  // when it began and ended
  uint64_t returned = UINT64_MAX;
  bool pending() const { return returned == UINT64_MAX; }
};

using Contents = std::map<uint32_t, uint64_t>;

// Whether there is an order of the operations that keeps to real time and in which each gives what a map of
// max_entries elements gives, beginning with `before` and ending with `after`. Operations that have not
// returned may be anywhere after their call, or not at all. -E2BIG is right also when the places that are
// missing may be in the hands of operations under way at the same time, and so is -ENOMEM where elements are
// evicted: then any may go while a put is under way.
bool is_linearizable(const std::vector<Operation>& history, const Contents& before, const Contents& after,
                     uint32_t max_entries, bool evicts = false);

std::string describe(const std::vector<Operation>& history);

}  // namespace skep::maps
