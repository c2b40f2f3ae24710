#pragma once

#include <asmjit/x86.h>

#include <cstdint>

#include "vm/cpu.hpp"

namespace skep::jit {

// The way in from C++, for every function of every program of a mode: r1 to r5 in, r0 out. Nests in a run.
using Trampoline = uint64_t (*)(vm::RunState*, const uint64_t* arguments, const void* function);

void emit_trampoline(asmjit::x86::Assembler& a, vm::Mode mode, bool retpolines);

// Where the return address of the function called next will be: whoever returns from there ends the run,
// whichever way it came in.
void note_way_out(asmjit::x86::Assembler& a);

}  // namespace skep::jit
