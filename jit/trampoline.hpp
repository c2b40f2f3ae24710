#pragma once

#include <asmjit/x86.h>

#include <cstdint>

#include "jit/indirect_branches.hpp"
#include "vm/cpu.hpp"

namespace skep::jit {

// The way in from C++, for every function of every program of a mode: r1 to r5 in, r0 out. Nests in a run.
using Trampoline = uint64_t (*)(vm::RunState*, const uint64_t* arguments, const void* function);

void emit_trampoline(asmjit::x86::Assembler& a, vm::Mode mode, IndirectBranches& branches);

// Ends the run: back to C++ with r0 = 0. The fuel is in memory, and the return address of the function that
// was called from C++ where native_stack points.
void emit_unwinding(asmjit::x86::Assembler& a, vm::Mode mode);

// Where the return address of the function called next will be: whoever returns from there ends the run,
// whichever way it came in.
void note_way_out(asmjit::x86::Assembler& a);

}  // namespace skep::jit
