#include <bit>
#include <limits>

#include "jit/emitter.hpp"

// Constants that the program chose. Blinded, they are in the code only combined with a random number each, so
// that no program writes machine code of its choice into executable memory by choosing its constants. Which
// ones: those of the kernel's bpf_jit_blind_insn(). Counts of shifts, of 6 bits, and displacements, of 16,
// stay.
namespace skep::jit {

using asmjit::imm;
namespace x86 = asmjit::x86;

// To all 64 bits of dst; changes the flags.
void Emitter::program_constant(const Gp& dst, uint64_t value) {
  if (!options_.blinding || value == 0) return move_immediate(dst, value);
  const uint64_t random = random_.next();
  const auto low = static_cast<int32_t>(static_cast<uint32_t>(random));
  const auto as_signed = static_cast<int64_t>(value);
  if (value <= std::numeric_limits<uint32_t>::max()) {
    a_.mov(dst.r32(), imm(static_cast<uint32_t>(value) ^ static_cast<uint32_t>(low)));
    a_.xor_(dst.r32(), imm(low));
  } else if (as_signed < 0 && as_signed >= std::numeric_limits<int32_t>::min()) {
    a_.mov(dst.r64(), imm(as_signed ^ low));
    a_.xor_(dst.r64(), imm(low));
  } else {
    // The machine's xor takes 32 bits: the halves change places between two of them.
    const auto high = static_cast<int32_t>(static_cast<uint32_t>(random >> 32));
    const auto widened = [](int32_t number) { return static_cast<uint64_t>(int64_t{number}); };
    const uint64_t blinded = std::rotr(value ^ widened(high), 32) ^ widened(low);
    a_.mov(dst.r64(), imm(static_cast<int64_t>(blinded)));
    a_.xor_(dst.r64(), imm(low));
    a_.rol(dst.r64(), imm(32));
    a_.xor_(dst.r64(), imm(high));
  }
}

// As the second operand of an instruction of that width: sign-extended as the machine does it. Blinded it
// goes to `temporary`, and the flags are changed.
asmjit::Operand Emitter::constant(int32_t value, unsigned width, const Gp& temporary) {
  if (!options_.blinding) return imm(value);
  const auto wide = static_cast<uint64_t>(int64_t{value});
  program_constant(temporary, width == 64 ? wide : static_cast<uint32_t>(wide));
  return part(temporary, width);
}

void Emitter::store_constant(const Mem& to, int64_t value) {
  if (!options_.blinding) {
    a_.mov(to, imm(value));
    return;
  }
  const unsigned width = to.size() * 8;
  const auto bits = static_cast<uint64_t>(value);
  program_constant(kScratch, width == 64 ? bits : bits & ((uint64_t{1} << width) - 1));
  a_.mov(to, part(kScratch, width));
}

void Emitter::multiply_by_constant(const Gp& dst, const Gp& src, int32_t factor) {
  if (!options_.blinding) {
    a_.imul(dst, src, imm(factor));
    return;
  }
  const asmjit::Operand operand = constant(factor, dst.size() * 8, kScratch);
  if (dst != src) a_.mov(dst, src);
  a_.emit(x86::Inst::kIdImul, dst, operand);
}

}  // namespace skep::jit
