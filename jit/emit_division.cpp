#include "jit/emitter.hpp"
#include "vm/division.hpp"

namespace skep::jit {

using asmjit::imm;
using isa::AluOp;
using isa::Source;
namespace x86 = asmjit::x86;

namespace {

constexpr uint64_t kSignBit = uint64_t{1} << 63;

constexpr Gp kQuotient = kFuel;  // between spill_fuel() and reload_fuel()

}  // namespace

// dst, rax and rdx may be one and the same: the divisor goes to kQuotient, which gets the result too, and
// what rax and rdx hold waits in kAddress and kScratch.
void Emitter::divide(const Instruction& i, const isa::Row& row) {
  const Gp dst = native(i.dst);
  const Gp divisor = part(kQuotient, row.width);
  spill_fuel();
  if (row.source == Source::kImm)
    program_constant(kQuotient, row.width == 32 ? static_cast<uint32_t>(i.imm) : i.imm);
  else
    a_.mov(divisor, part(native(i.src), row.width));
  const bool keep_rax = dst.id() != x86::rax.id() && (i.live_after & vm::register_set(0)) != 0;
  const bool keep_rdx = dst.id() != x86::rdx.id() && (i.live_after & vm::register_set(3)) != 0;
  if (keep_rax) a_.mov(kAddress, x86::rax);
  if (keep_rdx) a_.mov(kScratch, x86::rdx);
  if (dst.id() != x86::rax.id()) a_.mov(x86::rax, dst);
  const Label done = a_.newLabel();
  const bool is_signed = row.alu() == AluOp::kSdiv || row.alu() == AluOp::kSmod;
  if (is_signed)
    divide_signed(row.alu(), row.width, done);
  else
    divide_unsigned(row.alu(), row.width, done);
  if (keep_rax) a_.mov(x86::rax, kAddress);
  if (keep_rdx) a_.mov(x86::rdx, kScratch);
  a_.mov(dst, kQuotient);
  reload_fuel();
}

// The dividend is in rax, the divisor in kQuotient. A divisor of 0 is the quotient already.
void Emitter::divide_unsigned(AluOp op, unsigned width, const Label& done) {
  const Gp rax = part(x86::rax, width);
  const Gp rdx = part(x86::rdx, width);
  const Gp divisor = part(kQuotient, width);
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
  const Gp divisor = part(kQuotient, width);
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

// The quotient comes to be in kQuotient. src is as it was until dst is written: they may be one.
void Emitter::divide_by_magic(const Instruction& i, const vm::FusedRow& row) {
  const AluOp op = row.alu();
  const Gp src = native(i.src);
  const Gp dst = part(native(i.dst), row.width);
  const Gp quotient = part(kQuotient, row.width);
  const vm::Magic magic{i.imm, i.scale, i.index != 0};
  spill_fuel();
  if (op == AluOp::kSdiv || op == AluOp::kSmod)
    quotient_signed(src, row.width, magic, i.off);
  else if (row.width == 32)
    quotient_unsigned32(src, static_cast<uint32_t>(i.off), magic);
  else
    quotient_unsigned64(src, magic);
  if (op == AluOp::kDiv || op == AluOp::kSdiv) {
    a_.mov(dst, quotient);
  } else {
    multiply_by_constant(quotient, quotient, i.off);
    if (i.dst != i.src) a_.mov(dst, part(src, row.width));
    a_.sub(dst, quotient);
  }
  reload_fuel();
}

// A shorter multiplier than the operation's serves where there is one: the product then is of 64 bits.
void Emitter::quotient_unsigned32(const Gp& src, uint32_t divisor, const vm::Magic& magic) {
  const auto small = vm::unsigned_magic32(divisor);
  if (!small) return high_product(src, 32, magic.multiplier);
  a_.mov(kQuotient.r32(), src.r32());
  multiply_quotient(small->multiplier);
  a_.shr(kQuotient, 32 + small->shift);
}

void Emitter::quotient_unsigned64(const Gp& src, const vm::Magic& magic) {
  high_product(src, 64, magic.multiplier);
  if (!magic.add) {
    if (magic.shift != 0) a_.shr(kQuotient, magic.shift);
    return;
  }
  a_.mov(kScratch, src);
  a_.sub(kScratch, kQuotient);
  a_.shr(kScratch, 1);
  a_.add(kQuotient, kScratch);
  if (magic.shift != 1) a_.shr(kQuotient, magic.shift - 1);
}

void Emitter::quotient_signed(const Gp& src, unsigned width, const vm::Magic& magic, int32_t divisor) {
  if (width == 32) {
    a_.movsxd(kQuotient, src.r32());
    multiply_quotient(magic.multiplier);
    a_.sar(kQuotient, 32 + magic.shift);
  } else {
    high_product_signed(src, magic.multiplier);
    if ((magic.multiplier & kSignBit) != 0) a_.add(kQuotient, src);
    if (magic.shift != 0) a_.sar(kQuotient, magic.shift);
  }
  const Gp quotient = part(kQuotient, width);
  const Gp sign = part(kScratch, width);
  a_.mov(sign, part(src, width));
  a_.shr(sign, width - 1);
  a_.add(quotient, sign);
  if (divisor < 0) a_.neg(quotient);
}

// By a number of 32 bits.
void Emitter::multiply_quotient(uint64_t multiplier) {
  if (multiplier <= 0x7fffffff) {
    multiply_by_constant(kQuotient, kQuotient, static_cast<int32_t>(multiplier));
    return;
  }
  program_constant(kScratch, multiplier);
  a_.imul(kQuotient, kScratch);
}

// The high half of src times the multiplier goes to kQuotient.
void Emitter::high_product(const Gp& src, unsigned width, uint64_t multiplier) {
  program_constant(kQuotient, multiplier);
  if (options_.bmi2) {
    a_.mov(kAddress, x86::rdx);
    a_.mov(part(x86::rdx, width), part(src, width));
    a_.mulx(kQuotient, kScratch, kQuotient);
    a_.mov(x86::rdx, kAddress);
    return;
  }
  a_.mov(kAddress, x86::rax);
  a_.mov(kScratch, x86::rdx);
  a_.mov(part(x86::rax, width), part(src, width));
  a_.mul(kQuotient);
  take_high_half();
}

void Emitter::high_product_signed(const Gp& src, uint64_t multiplier) {
  program_constant(kQuotient, multiplier);
  a_.mov(kAddress, x86::rax);
  a_.mov(kScratch, x86::rdx);
  a_.mov(x86::rax, src);
  a_.imul(kQuotient);
  take_high_half();
}

void Emitter::take_high_half() {
  a_.mov(kQuotient, x86::rdx);
  a_.mov(x86::rax, kAddress);
  a_.mov(x86::rdx, kScratch);
}

}  // namespace skep::jit
