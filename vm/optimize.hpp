#pragma once

#include "vm/lowering.hpp"
#include "vm/pass.hpp"
#include "vm/program.hpp"

namespace skep::vm {

// A program's operations after the passes. Does to memory, r0, fuel and faults what the lowered instructions
// do; what else is left in registers nobody can read. Code for verified mode is right for programs that the
// kernel's verifier would accept: nothing in it costs fuel.
Code optimize(const Lowered& lowered, PassSet passes, Mode mode);

}  // namespace skep::vm
