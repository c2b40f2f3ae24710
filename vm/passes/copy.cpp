#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

// The form with three operands; the operation itself: there is none.
Operation three_operand_form(Operation op) {
  using enum Operation;
  switch (static_cast<uint16_t>(op)) {
#define SKEP_FORM(name)                \
  case static_cast<uint16_t>(k##name): \
    return k##name##3;
    SKEP_FORM(Sub64Reg)
    SKEP_FORM(Sub32Imm)
    SKEP_FORM(Sub32Reg)
    SKEP_FORM(Mul64Imm)
    SKEP_FORM(Mul64Reg)
    SKEP_FORM(Mul32Imm)
    SKEP_FORM(Mul32Reg)
    SKEP_FORM(Or64Imm)
    SKEP_FORM(Or64Reg)
    SKEP_FORM(Or32Imm)
    SKEP_FORM(Or32Reg)
    SKEP_FORM(And64Imm)
    SKEP_FORM(And64Reg)
    SKEP_FORM(And32Imm)
    SKEP_FORM(And32Reg)
    SKEP_FORM(Xor64Imm)
    SKEP_FORM(Xor64Reg)
    SKEP_FORM(Xor32Imm)
    SKEP_FORM(Xor32Reg)
    SKEP_FORM(Lsh64Imm)
    SKEP_FORM(Lsh64Reg)
    SKEP_FORM(Lsh32Imm)
    SKEP_FORM(Lsh32Reg)
    SKEP_FORM(Rsh64Imm)
    SKEP_FORM(Rsh64Reg)
    SKEP_FORM(Rsh32Imm)
    SKEP_FORM(Rsh32Reg)
    SKEP_FORM(Arsh64Imm)
    SKEP_FORM(Arsh64Reg)
    SKEP_FORM(Arsh32Imm)
    SKEP_FORM(Arsh32Reg)
#undef SKEP_FORM
    default:
      return op;
  }
}

bool copies(const LoweredInstruction& i, unsigned width) {
  return i.op == Operation::kMov64Reg || (width == 32 && i.op == Operation::kMov32Reg);
}

}  // namespace

bool concerns_copy(Operation op) {
  return three_operand_form(op) != op || (is_fused(op) && fused_row(op).kind == Fused::kDivision);
}

bool combine_copy(Window& window, uint32_t n) {
  LoweredInstruction& i = window.at(n);
  const bool division = is_fused(i.op) && fused_row(i.op).kind == Fused::kDivision && i.src == i.dst;
  const Operation form = division ? i.op : three_operand_form(i.op);
  if (form == i.op && !division) return false;
  const FusedRow& row = fused_row(form);
  const bool by_register = row.source == isa::Source::kReg;
  const auto from = window.producer(i.dst);
  if (!from || (by_register && i.src == i.dst)) return false;
  const LoweredInstruction& copy = window.at(*from);
  if (!copies(copy, row.width) || copy.src == copy.dst || !window.holds_since(copy.src, *from)) return false;
  const uint8_t original = copy.src;
  window.remove(*from);
  window.extend(original, *from, n);
  i.op = form;
  if (by_register) i.index = i.src;
  i.src = original;
  return true;
}

}  // namespace skep::vm
