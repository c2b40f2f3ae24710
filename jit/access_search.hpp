#pragma once

#include <asmjit/x86.h>

#include "jit/indirect_branches.hpp"

namespace skep::jit {

// Finds what holds an access that lies outside its cache: the packet, the stack, the element value looked up
// last, or what the CPU says. Fills the cache, or ends the run with a fault.
//
// Entered with the address in kAddress, the cache's (or 0) in kScratch, and on the stack, the last pushed
// first: rax, the return address, the access's kind (access_kind()), its slot. Takes them all from there,
// and changes kAddress and kScratch alone.
void emit_access_search(asmjit::x86::Assembler& a, IndirectBranches& branches);

}  // namespace skep::jit
