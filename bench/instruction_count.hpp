#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "isa/instruction.hpp"

namespace skep::bench {

struct Count {
  uint64_t instructions = 0;
  uint64_t r0 = 0;
};

// Executes a raw program that calls no helpers and has no maps, and counts the instructions it executes.
// Throws std::runtime_error for anything else.
Count count_instructions(std::span<const isa::Encoded> program, std::span<std::byte> memory);

}  // namespace skep::bench
