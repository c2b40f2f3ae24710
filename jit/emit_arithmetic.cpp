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

asmjit::Imm immediate(const vm::LoweredInstruction& i) {
  return imm(static_cast<int32_t>(static_cast<uint32_t>(i.imm)));
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
    a_.emit(id, dst, immediate(i));
  else
    a_.emit(id, dst, part(native(i.src), row.width));
}

void Emitter::multiply(const Instruction& i, const isa::Row& row) {
  const Gp dst = part(native(i.dst), row.width);
  if (row.source == Source::kImm)
    a_.imul(dst, dst, immediate(i));
  else
    a_.imul(dst, part(native(i.src), row.width));
}

void Emitter::move(const Instruction& i, const isa::Row& row) {
  if (row.source == Source::kReg) {
    a_.mov(part(native(i.dst), row.width), part(native(i.src), row.width));
    return;
  }
  move_immediate(native(i.dst), immediate_of(i, row.width));
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

// dst, rax and rdx may be one and the same: the divisor goes to kFuel's register, which gets the result too,
// and what rax and rdx hold waits in kAddress and kScratch.
void Emitter::divide(const Instruction& i, const isa::Row& row) {
  if (row.source == Source::kImm && divide_by_constant(i, row)) return;
  const Gp dst = native(i.dst);
  const Gp divisor = part(kFuel, row.width);
  spill_fuel();
  if (row.source == Source::kImm)
    move_immediate(kFuel, immediate_of(i, row.width));
  else
    a_.mov(divisor, part(native(i.src), row.width));
  const bool keep_rax = dst.id() != x86::rax.id();
  const bool keep_rdx = dst.id() != x86::rdx.id();
  if (keep_rax) a_.mov(kAddress, x86::rax);
  if (keep_rdx) a_.mov(kScratch, x86::rdx);
  if (keep_rax) a_.mov(x86::rax, dst);
  const Label done = a_.newLabel();
  const bool is_signed = row.alu() == AluOp::kSdiv || row.alu() == AluOp::kSmod;
  if (is_signed)
    divide_signed(row.alu(), row.width, done);
  else
    divide_unsigned(row.alu(), row.width, done);
  if (keep_rax) a_.mov(x86::rax, kAddress);
  if (keep_rdx) a_.mov(x86::rdx, kScratch);
  a_.mov(dst, kFuel);
  reload_fuel();
}

// False: there is no shorter way than a division.
bool Emitter::divide_by_constant(const Instruction& i, const isa::Row& row) {
  const Gp dst = part(native(i.dst), row.width);
  const uint64_t divisor = immediate_of(i, row.width);
  const bool is_unsigned = row.alu() == AluOp::kDiv || row.alu() == AluOp::kMod;
  const bool is_mod = row.alu() == AluOp::kMod || row.alu() == AluOp::kSmod;
  const auto keep = [&] {
    if (row.width == 32) a_.mov(dst, dst);
  };
  if (divisor == 0 || divisor == 1) {
    const bool zero = is_mod ? divisor == 1 : divisor == 0;
    if (zero)
      a_.xor_(dst.r32(), dst.r32());
    else
      keep();
    return true;
  }
  if (!is_unsigned || !std::has_single_bit(divisor)) return false;
  if (!is_mod) {
    a_.shr(dst, std::countr_zero(divisor));
    return true;
  }
  // 2^31 is the largest: of 64 bits the immediate 0x80000000 is sign-extended and no power of two.
  a_.and_(dst, imm(static_cast<int32_t>(divisor - 1)));
  return true;
}

// The dividend is in rax, the divisor in kFuel. A divisor of 0 is the quotient already.
void Emitter::divide_unsigned(AluOp op, unsigned width, const Label& done) {
  const Gp rax = part(x86::rax, width);
  const Gp rdx = part(x86::rdx, width);
  const Gp divisor = part(kFuel, width);
  if (op == AluOp::kMod) a_.mov(rdx, rax);
  a_.test(divisor, divisor);
  a_.jz(done);
  a_.xor_(x86::edx, x86::edx);
  a_.div(divisor);
  if (op == AluOp::kDiv) a_.mov(divisor, rax);
  a_.bind(done);
  if (op == AluOp::kMod) a_.mov(divisor, rdx);
}

void Emitter::divide_signed(AluOp op, unsigned width, const Label& done) {
  const Gp rax = part(x86::rax, width);
  const Gp rdx = part(x86::rdx, width);
  const Gp divisor = part(kFuel, width);
  const Label general = a_.newLabel();
  const Label quotient = a_.newLabel();
  const bool is_mod = op == AluOp::kSmod;
  if (is_mod) a_.mov(rdx, rax);
  a_.test(divisor, divisor);
  a_.jz(done);
  // The machine traps on the quotient of INT_MIN and -1.
  a_.cmp(divisor, imm(-1));
  a_.jne(general);
  if (is_mod) {
    a_.xor_(x86::edx, x86::edx);
    a_.jmp(done);
  } else {
    a_.neg(rax);
    a_.jmp(quotient);
  }
  a_.bind(general);
  if (width == 64)
    a_.cqo();
  else
    a_.cdq();
  a_.idiv(divisor);
  a_.bind(quotient);
  if (!is_mod) a_.mov(divisor, rax);
  a_.bind(done);
  if (is_mod) a_.mov(divisor, rdx);
}

}  // namespace skep::jit
