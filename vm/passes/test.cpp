#include <optional>

#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

using isa::Source;

// dst & operand, of that width.
struct Mask {
  uint8_t reg;
  unsigned width;
  Source source;
  uint8_t operand;
  uint64_t imm;
};

std::optional<Mask> mask_of(const LoweredInstruction& i) {
  using enum Operation;
  switch (static_cast<uint16_t>(i.op)) {
    case static_cast<uint16_t>(kAnd64Imm):
      return Mask{i.dst, 64, Source::kImm, 0, i.imm};
    case static_cast<uint16_t>(kAnd64Imm3):
      return Mask{i.src, 64, Source::kImm, 0, i.imm};
    case static_cast<uint16_t>(kAnd32Imm):
      return Mask{i.dst, 32, Source::kImm, 0, i.imm};
    case static_cast<uint16_t>(kAnd32Imm3):
      return Mask{i.src, 32, Source::kImm, 0, i.imm};
    case static_cast<uint16_t>(kAnd64Reg):
      return Mask{i.dst, 64, Source::kReg, i.src, 0};
    case static_cast<uint16_t>(kAnd32Reg):
      return Mask{i.dst, 32, Source::kReg, i.src, 0};
    case static_cast<uint16_t>(kAnd64Reg3):
      return Mask{i.src, 64, Source::kReg, i.index, 0};
    case static_cast<uint16_t>(kAnd32Reg3):
      return Mask{i.src, 32, Source::kReg, i.index, 0};
    default:
      return std::nullopt;
  }
}

// Whether the jump asks if a register is zero; the width it asks about.
unsigned tested_width(const LoweredInstruction& i) {
  using enum Operation;
  if (i.imm != 0) return 0;
  if (i.op == kJeq64Imm || i.op == kJne64Imm) return 64;
  if (i.op == kJeq32Imm || i.op == kJne32Imm) return 32;
  return 0;
}

Operation jump_of(bool if_clear, unsigned width, Source source) {
  using enum Operation;
  if (source == Source::kImm) {
    if (width == 64) return if_clear ? kJclear64Imm : kJset64Imm;
    return if_clear ? kJclear32Imm : kJset32Imm;
  }
  if (width == 64) return if_clear ? kJclear64Reg : kJset64Reg;
  return if_clear ? kJclear32Reg : kJset32Reg;
}

}  // namespace

bool concerns_test(Operation op) { return tested_width({.op = op}) != 0; }

bool combine_test(Window& window, uint32_t n) {
  LoweredInstruction& i = window.at(n);
  const unsigned width = tested_width(i);
  if (width == 0) return false;
  const auto from = window.sole_producer(i.dst, n);
  if (!from) return false;
  const auto mask = mask_of(window.at(*from));
  if (!mask || !window.holds_since(mask->reg, *from)) return false;
  if (mask->source == Source::kReg && !window.holds_since(mask->operand, *from)) return false;
  window.remove(*from);
  window.extend(mask->reg, *from, n);
  if (mask->source == Source::kReg) window.extend(mask->operand, *from, n);
  const bool if_clear = i.op == Operation::kJeq64Imm || i.op == Operation::kJeq32Imm;
  // A mask of 32 bits clears the upper half, and a jump on 32 bits does not look at it.
  i.op = jump_of(if_clear, mask->width == 32 || width == 32 ? 32 : 64, mask->source);
  i.dst = mask->reg;
  i.src = mask->operand;
  i.imm = mask->imm;
  return true;
}

}  // namespace skep::vm
