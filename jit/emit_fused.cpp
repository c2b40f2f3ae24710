#include "jit/emitter.hpp"

// The operations that the passes make (vm/operations.def).
namespace skep::jit {

using asmjit::imm;
using isa::AluOp;
using isa::Source;
using vm::Fused;
using vm::FusedRow;
using vm::kZeroRegister;
namespace x86 = asmjit::x86;

namespace {

bool shifts(AluOp op) { return op == AluOp::kLsh || op == AluOp::kRsh || op == AluOp::kArsh; }

}  // namespace

void Emitter::fused(const Instruction& i) {
  const FusedRow& row = vm::fused_row(i.op);
  switch (row.kind) {
    case Fused::kIsa:
      return;
    case Fused::kAlu3:
      return three_operands(i, row);
    case Fused::kAddress:
      return address(i, row.width);
    case Fused::kRotate:
      return rotate(i, row.width);
    case Fused::kDivision:
      return divide_by_magic(i, row);
    case Fused::kLoadIndexed:
      return load_from(native(i.dst), checked_access(i.src, i, row.width / 8u, false), row.is_signed());
    case Fused::kLoadSwapped:
      return load_swapped(i, row.width);
    case Fused::kStoreIndexed:
      return store_to(checked_access(i.dst, i, row.width / 8u, true), i, row.source);
    case Fused::kStoreSwapped:
      return store_swapped(i, row.width);
    case Fused::kJumpClear:
      return conditional_jump(i, isa::Condition::kSet, row.width, row.source, true);
    case Fused::kSelectClear:
      return select(i, row, isa::Condition::kSet, true);
    case Fused::kSelect:
      return select(i, row, row.condition(), false);
  }
}

// dst = src operation operand. The operand is never dst.
void Emitter::three_operands(const Instruction& i, const FusedRow& row) {
  const AluOp op = row.alu();
  const Gp dst = part(native(i.dst), row.width);
  const Gp src = part(native(i.src), row.width);
  if (row.source == Source::kImm) {
    if (op == AluOp::kMul) {
      multiply_by(dst, src, immediate(i));
      return;
    }
    a_.mov(dst, src);
    Instruction in_place = i;
    in_place.src = i.dst;
    if (shifts(op)) return shift_by_immediate(op, in_place, row.width);
    a_.emit(binary_instruction(op), dst, constant(immediate(i), row.width, kScratch));
    return;
  }
  const Gp operand = part(native(i.index), row.width);
  if (shifts(op) && options_.bmi2) return shift_to(op, dst, src, operand);
  a_.mov(dst, src);
  if (shifts(op)) return shift_by_register(op, dst, operand);
  if (op == AluOp::kMul)
    a_.imul(dst, operand);
  else
    a_.emit(binary_instruction(op), dst, operand);
}

void Emitter::address(const Instruction& i, unsigned width) {
  const Gp dst = part(native(i.dst), width);
  if (options_.blinding && i.off != 0) {
    Instruction without = i;
    without.off = 0;
    if (i.dst != i.src || i.index != kZeroRegister) a_.lea(dst, memory(i.src, without, 0));
    a_.emit(x86::Inst::kIdAdd, dst, constant(i.off, width, kScratch));
    return;
  }
  // An addition is shorter than a lea, and faster on some machines.
  if (i.dst == i.src && i.index == kZeroRegister) {
    a_.add(dst, imm(i.off));
    return;
  }
  if (i.dst == i.src && i.scale == 0 && i.off == 0) {
    a_.add(dst, part(native(i.index), width));
    return;
  }
  a_.lea(dst, memory(i.src, i, 0));
}

void Emitter::rotate(const Instruction& i, unsigned width) {
  const Gp dst = part(native(i.dst), width);
  const Gp src = part(native(i.src), width);
  const auto count = static_cast<uint32_t>(i.imm);
  if (options_.bmi2 && i.dst != i.src) {
    a_.rorx(dst, src, imm(width - count));
    return;
  }
  if (i.dst != i.src) a_.mov(dst, src);
  a_.rol(dst, imm(count));
}

void Emitter::swap_bytes(const Gp& reg, unsigned width) {
  if (width == 16)
    a_.rol(reg.r16(), imm(8));
  else
    a_.bswap(part(reg, width));
}

void Emitter::load_swapped(const Instruction& i, unsigned width) {
  const Mem from = checked_access(i.src, i, width / 8, false);
  const Gp dst = native(i.dst);
  if (width != 16 && options_.movbe) {
    a_.movbe(part(dst, width), from);
    return;
  }
  load_from(dst, from, false);
  swap_bytes(dst, width);
}

void Emitter::store_swapped(const Instruction& i, unsigned width) {
  const Mem to = checked_access(i.dst, i, width / 8, true);
  if (options_.movbe) {
    a_.movbe(to, part(native(i.src), width));
    return;
  }
  a_.mov(kScratch, native(i.src));
  swap_bytes(kScratch, width);
  a_.mov(to, part(kScratch, width));
}

// If index condition (src or imm), or if not: dst = scale's register + off.
void Emitter::select(const Instruction& i, const FusedRow& row, isa::Condition condition, bool negated) {
  Gp value = kScratch;
  if (i.scale == kZeroRegister)
    program_constant(kScratch,
                     static_cast<uint64_t>(static_cast<int64_t>(i.off)));  // before the flags are set
  else
    value = native(i.scale);
  Instruction comparison = i;
  comparison.dst = i.index;
  compare(comparison, condition, row.width, row.source);
  const x86::CondCode holds = condition_code(condition);
  a_.cmov(negated ? x86::negateCond(holds) : holds, native(i.dst), value);
}

}  // namespace skep::jit
