#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "skep/machine.hpp"

namespace skep::tools {

// --set MAP:KEY=VALUE[@PROGRAM]: an element that a map has before the first run. KEY and VALUE are numbers;
// PROGRAM is one of the object's, for elements of device and CPU maps.
struct MapSetting {
  std::string text;  // as it was given
  std::string map;
  uint64_t key = 0;
  uint64_t value = 0;
  std::string program;

  // EINVAL: not of that form.
  static Result<MapSetting> parse(const std::string& text);
  // Errors name the setting: ENOENT: no such map or program; EINVAL: the numbers do not fit; what the update
  // says.
  Result<void> apply(const Object& object) const;
};

}  // namespace skep::tools
