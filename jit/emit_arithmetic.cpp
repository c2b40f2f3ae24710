#include <bit>

#include "jit/emitter.hpp"

namespace skep::jit {

using asmjit::imm;
using isa::AluOp;
using isa::Source;
namespace x86 = asmjit::x86;

namespace {

// The immediate as an operation of that width computes with it.
uint64_t immediate_of(const vm::LoweredInstruction& i, unsigned width) {
  return width == 32 ? static_cast<uint32_t>(i.imm) : i.imm;
}

x86::Inst::Id pick(AluOp op, x86::Inst::Id left, x86::Inst::Id right, x86::Inst::Id arithmetic) {
  return op == AluOp::kLsh ? left : op == AluOp::kRsh ? right : arithmetic;
}

}  // namespace

int32_t immediate(const vm::LoweredInstruction& i) {
  return static_cast<int32_t>(static_cast<uint32_t>(i.imm));
}

x86::Inst::Id binary_instruction(AluOp op) {
  if (op == AluOp::kAdd) return x86::Inst::kIdAdd;
  if (op == AluOp::kSub) return x86::Inst::kIdSub;
  if (op == AluOp::kOr) return x86::Inst::kIdOr;
  if (op == AluOp::kAnd) return x86::Inst::kIdAnd;
  return x86::Inst::kIdXor;
}

void Emitter::arithmetic(const Instruction& i, const isa::Row& row) {
  const Gp dst = part(native(i.dst), row.width);
  switch (row.alu()) {
    case AluOp::kAdd:
    case AluOp::kSub:
    case AluOp::kOr:
    case AluOp::kAnd:
    case AluOp::kXor:
      return binary(i, row);
    case AluOp::kMul:
      return multiply(i, row);
    case AluOp::kDiv:
    case AluOp::kMod:
    case AluOp::kSdiv:
    case AluOp::kSmod:
      return divide(i, row);
    case AluOp::kLsh:
    case AluOp::kRsh:
    case AluOp::kArsh:
      return shift(i, row);
    case AluOp::kMov:
      return move(i, row);
    case AluOp::kNeg:
      a_.neg(dst);
      return;
    case AluOp::kMovsx8:
      a_.movsx(dst, native(i.src).r8());
      return;
    case AluOp::kMovsx16:
      a_.movsx(dst, native(i.src).r16());
      return;
    case AluOp::kMovsx32:
      a_.movsxd(dst, native(i.src).r32());
      return;
    case AluOp::kLe16:
      a_.movzx(dst.r32(), dst.r16());
      return;
    case AluOp::kLe32:
      a_.mov(dst.r32(), dst.r32());
      return;
    case AluOp::kLe64:
      return;
    case AluOp::kBe16:
    case AluOp::kBswap16:
      a_.bswap(dst.r32());
      a_.shr(dst.r32(), 16);
      return;
    case AluOp::kBe32:
    case AluOp::kBswap32:
      a_.bswap(dst.r32());
      return;
    case AluOp::kBe64:
    case AluOp::kBswap64:
      a_.bswap(dst.r64());
      return;
  }
}

void Emitter::binary(const Instruction& i, const isa::Row& row) {
  const x86::Inst::Id id = binary_instruction(row.alu());
  const Gp dst = part(native(i.dst), row.width);
  if (row.source == Source::kImm)
    a_.emit(id, dst, constant(immediate(i), row.width, kScratch));
  else
    a_.emit(id, dst, part(native(i.src), row.width));
}

void Emitter::multiply(const Instruction& i, const isa::Row& row) {
  const Gp dst = part(native(i.dst), row.width);
  if (row.source == Source::kImm)
    multiply_by(dst, dst, immediate(i));
  else
    a_.imul(dst, part(native(i.src), row.width));
}

// Of what takes two cycles a multiplication takes three.
void Emitter::multiply_by(const Gp& dst, const Gp& src, int32_t factor) {
  const auto bits = static_cast<uint32_t>(factor);
  if (factor == 3 || factor == 5 || factor == 9) {
    a_.lea(dst, x86::ptr(src, src, static_cast<uint32_t>(std::countr_zero(bits - 1))));
    return;
  }
  const bool power = std::has_single_bit(bits);
  const bool above = std::has_single_bit(bits - 1);
  const bool below = std::has_single_bit(bits + 1);
  if (factor < 2 || !(power || above || below)) {
    multiply_by_constant(dst, src, factor);
    return;
  }
  Gp once = src;
  if (dst != src) {
    a_.mov(dst, src);
  } else if (!power) {
    once = part(kScratch, dst.size() * 8);
    a_.mov(once, src);
  }
  a_.shl(dst, std::countr_zero(power ? bits : above ? bits - 1 : bits + 1));
  if (above && !power)
    a_.add(dst, once);
  else if (!power)
    a_.sub(dst, once);
}

void Emitter::move(const Instruction& i, const isa::Row& row) {
  if (row.source == Source::kReg) {
    a_.mov(part(native(i.dst), row.width), part(native(i.src), row.width));
    return;
  }
  program_constant(native(i.dst), immediate_of(i, row.width));
}

void Emitter::shift(const Instruction& i, const isa::Row& row) {
  const Gp dst = part(native(i.dst), row.width);
  if (row.source == Source::kReg) return shift_by_register(row.alu(), dst, part(native(i.src), row.width));
  shift_by_immediate(row.alu(), i, row.width);
}

void Emitter::shift_by_immediate(AluOp op, const Instruction& i, unsigned width) {
  const Gp dst = part(native(i.dst), width);
  const auto count = static_cast<uint8_t>(i.imm & (width - 1u));
  if (count == 0) {
    if (width == 32) a_.mov(dst, dst);  // for the upper half
    return;
  }
  if (op == AluOp::kLsh)
    a_.shl(dst, count);
  else if (op == AluOp::kRsh)
    a_.shr(dst, count);
  else
    a_.sar(dst, count);
}

// dst = src shifted; BMI2's.
void Emitter::shift_to(AluOp op, const Gp& dst, const Gp& src, const Gp& count) {
  a_.emit(pick(op, x86::Inst::kIdShlx, x86::Inst::kIdShrx, x86::Inst::kIdSarx), dst, src, count);
}

void Emitter::shift_by_register(AluOp op, const Gp& dst, const Gp& count) {
  if (options_.bmi2) return shift_to(op, dst, dst, count);
  const x86::Inst::Id id = pick(op, x86::Inst::kIdShl, x86::Inst::kIdShr, x86::Inst::kIdSar);
  const bool is_rcx = dst.id() == x86::rcx.id();
  if (count.id() == x86::rcx.id() && !is_rcx) {
    a_.emit(id, dst, x86::cl);
    return;
  }
  // The count goes to rcx; what rcx held waits in kAddress, or is shifted there.
  a_.mov(kAddress, x86::rcx);
  if (count.id() != x86::rcx.id()) a_.mov(x86::rcx, count.r64());
  a_.emit(id, is_rcx ? part(kAddress, dst.size() * 8) : dst, x86::cl);
  a_.mov(x86::rcx, kAddress);
}

}  // namespace skep::jit
