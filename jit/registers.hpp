#pragma once

#include <asmjit/x86.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "isa/instruction.hpp"

// Which x86-64 register stands for which BPF register: r1 to r5 where the System V ABI passes arguments, r0
// where it returns, r6 to r10 in registers that a callee preserves. A helper call moves none of them.
namespace skep::jit {

using asmjit::x86::Gp;

inline constexpr std::array<Gp, isa::kRegisters> kBpfRegisters{
    asmjit::x86::rax, asmjit::x86::rdi, asmjit::x86::rsi, asmjit::x86::rdx, asmjit::x86::rcx, asmjit::x86::r8,
    asmjit::x86::rbx, asmjit::x86::r13, asmjit::x86::r14, asmjit::x86::r15, asmjit::x86::rbp};

inline constexpr Gp kFrame = asmjit::x86::rbp;  // r10
inline constexpr Gp kCpu = asmjit::x86::r12;    // the vm::Cpu, whose vm::RunState base comes first

// Hold nothing from one instruction to the next.
inline constexpr Gp kAddress = asmjit::x86::r9;  // of the access being checked
inline constexpr Gp kScratch = asmjit::x86::r10;
// Checked mode: the fuel left, wherever generated code runs; a scratch register between Emitter::spill_fuel()
// and reload_fuel(). Verified mode: a scratch register.
inline constexpr Gp kFuel = asmjit::x86::r11;

// What a C++ caller expects back.
inline constexpr Gp kPreserved[] = {asmjit::x86::rbp, asmjit::x86::rbx, asmjit::x86::r12,
                                    asmjit::x86::r13, asmjit::x86::r14, asmjit::x86::r15};

inline Gp native(unsigned reg) { return kBpfRegisters[reg]; }
// A field of the CPU's vm::RunState, by its offset.
inline asmjit::x86::Mem run_state(size_t offset) {
  return asmjit::x86::qword_ptr(kCpu, static_cast<int32_t>(offset));
}
// The low 8, 16, 32 or all 64 bits.
inline Gp part(const Gp& reg, unsigned bits) {
  switch (bits) {
    case 8:
      return reg.r8();
    case 16:
      return reg.r16();
    case 32:
      return reg.r32();
    default:
      return reg.r64();
  }
}

}  // namespace skep::jit
