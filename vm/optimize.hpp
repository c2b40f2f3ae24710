#pragma once

#include "vm/lowering.hpp"
#include "vm/pass.hpp"

namespace skep::vm {

// A program's operations after the passes. Does to memory, r0, fuel and faults what the lowered instructions
// do; what else is left in registers nobody can read.
Code optimize(const Lowered& lowered, PassSet passes);

}  // namespace skep::vm
