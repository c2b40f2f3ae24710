#pragma once

#include <asmjit/x86.h>

#include <utility>
#include <vector>

#include "jit/registers.hpp"

namespace skep::jit {

// Calls and jumps of generated code to where its bytes do not say: to addresses in registers, and to C++
// functions, which are too far away for their addresses to be in the instruction.
//
// With retpolines such a branch is a return to an address that was put on the stack, so that its target is
// never predicted from what other branches of the process did: a speculated return goes to the instruction
// behind the thunk's call, which waits. This is the sequence of the kernel's arch/x86/lib/retpoline.S. It
// does not work with shadow stacks.
class IndirectBranches {
 public:
  IndirectBranches(asmjit::x86::Assembler& assembler, bool retpolines)
      : a_(assembler), retpolines_(retpolines) {}

  // Change rax.
  void call(const void* function);
  void jump(const void* code);
  void call(const Gp& target);
  void jump(const Gp& target);
  // Behind all of them.
  void thunks();

 private:
  asmjit::Label thunk(const Gp& target);

  asmjit::x86::Assembler& a_;
  bool retpolines_;
  std::vector<std::pair<Gp, asmjit::Label>> thunks_;  // by register
};

}  // namespace skep::jit
