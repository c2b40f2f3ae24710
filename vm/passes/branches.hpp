#pragma once

#include <optional>

#include "vm/operation.hpp"

namespace skep::vm {

// The jump that is taken where this one is not; nullopt: it is no conditional jump that has one.
std::optional<Operation> negated_jump(Operation jump);
// The jump that is taken with its operands exchanged, of the same form; nullopt: there is none.
std::optional<Operation> exchanged_jump(Operation jump);

}  // namespace skep::vm
