#pragma once

#include <cstdint>
#include <span>

namespace skep::fuzz {

// What a fuzz target does with an input; each target defines it once. Returns, or ends the process with the
// finding on stderr.
void run_input(std::span<const uint8_t> input);

}  // namespace skep::fuzz
