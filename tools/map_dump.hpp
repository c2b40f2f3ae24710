#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "skep/machine.hpp"

namespace skep::tools {

// A map with all its elements, as {name, type, entries: [{key, value}]}; per-CPU maps have values, one per
// CPU, in place of value. Keys and values are JSON by the object's BTF, or hex strings without. Elements of
// hash maps come in the order of their keys' bytes, so that equal maps give equal text.
nlohmann::ordered_json map_as_json(const Object& object, const Map& map);

// The same for a reader. Elements of array maps that are all zeros are counted, not shown.
std::string map_as_text(const Object& object, const Map& map);

}  // namespace skep::tools
