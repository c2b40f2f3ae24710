#pragma once

#include <cstdint>
#include <vector>

#include "vm/helper.hpp"

namespace skep::fuzz {

// Helpers for generated programs to call, whose results depend on their arguments alone. Their ids are no
// helper's of the kernel.
inline constexpr int32_t kMix = 1000;        // of five numbers
inline constexpr int32_t kCallTwice = 1001;  // a callback, with a number

std::vector<vm::HelperRow> plain_helpers();

}  // namespace skep::fuzz
