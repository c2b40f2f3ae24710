#pragma once

#include "vm/lowering.hpp"

namespace skep::vm {

// What an operation does to the registers. r10, which no operation writes, is among what is read where it is
// an operand.
struct RegisterUse {
  RegisterSet reads = 0;
  RegisterSet writes = 0;
};

RegisterUse register_use(const LoweredInstruction& i);

// Does nothing but write dst: without readers of that it may go.
bool is_pure(Operation op);
// May lead elsewhere than to the next operation, and comes back to it at most.
bool is_conditional_jump(Operation op);
// Never goes on with the next operation.
bool ends_flow(Operation op);
// Has a target within its function.
bool is_jump(Operation op);

}  // namespace skep::vm
