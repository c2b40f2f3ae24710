#pragma once

#include <memory>

#include "vm/engine.hpp"

namespace skep::jit {

struct JitOptions {
  bool use_bmi2 = true;   // where the host has it
  bool use_movbe = true;  // where the host has it
  bool use_memory_file =
      true;  // for code, where the host allows it; else each program's has pages of its own
  unsigned loop_alignment = 0;  // of loop heads, in bytes, a power of two; 0: none
};

// The x86-64 JIT: translates the lowered instructions to machine code, one program at a time. Does to
// registers, memory and fuel what the interpreter does, and faults where it faults. Code is never writable
// and executable at once.
std::unique_ptr<vm::Engine> make_jit(const JitOptions& options = {});

}  // namespace skep::jit
