#pragma once

#include <cstdint>
#include <span>

#include "isa/instruction.hpp"

namespace skep::vm {

// How much of the stack, in bytes from the beginning of the main function's frame, a program may write,
// whether it was verified or not: the frames of its deepest chain of local calls, none if nothing in it
// writes memory. What callbacks and the targets of tail calls use is not counted.
uint64_t stack_reach(std::span<const isa::Instruction> program);

}  // namespace skep::vm
