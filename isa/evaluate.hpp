#pragma once

#include <cstdint>

#include "isa/instruction.hpp"

// arithmetic.hpp by operations that are known only at run time.
namespace skep::isa {

// What an arithmetic instruction (Class::kAlu) leaves in its dst; `operand` is the immediate or src's value.
uint64_t evaluate(Op op, uint64_t dst, uint64_t operand);
// Whether a conditional jump (Class::kJump) is taken.
bool is_taken(Op op, uint64_t dst, uint64_t operand);

}  // namespace skep::isa
