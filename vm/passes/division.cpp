#include "vm/division.hpp"

#include <bit>
#include <optional>

#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

using isa::AluOp;

void put(LoweredInstruction& i, Operation op, uint64_t imm) {
  i.op = op;
  i.imm = imm;
}

// What does nothing but, of 32 bits, clear the upper half.
void keep(LoweredInstruction& i, unsigned width) {
  i.op = width == 32 ? Operation::kMov32Reg : Operation::kMov64Reg;
  i.src = i.dst;
}

struct Division {
  AluOp op;
  unsigned width;
  uint64_t divisor;  // of that width

  bool is_signed() const { return op == AluOp::kSdiv || op == AluOp::kSmod; }
  bool is_modulo() const { return op == AluOp::kMod || op == AluOp::kSmod; }
  bool is_minus_one() const { return divisor == (width == 32 ? 0xffffffff : ~uint64_t{0}); }
};

std::optional<Division> division_at(const LoweredInstruction& i) {
  if (is_fused(i.op)) return std::nullopt;
  const isa::Row& row = isa::row(isa_op(i.op));
  if (row.cls != isa::Class::kAlu || row.source != isa::Source::kImm) return std::nullopt;
  const AluOp op = row.alu();
  if (op != AluOp::kDiv && op != AluOp::kMod && op != AluOp::kSdiv && op != AluOp::kSmod) return std::nullopt;
  return Division{op, row.width, row.width == 32 ? static_cast<uint32_t>(i.imm) : i.imm};
}

// By 0, 1, -1 and, without a sign, powers of two. False: none of them.
bool divide_by_special(LoweredInstruction& i, const Division& d) {
  using enum Operation;
  const bool wide = d.width == 64;
  if (d.divisor <= 1) {
    const bool zero = d.is_modulo() ? d.divisor == 1 : d.divisor == 0;
    if (zero)
      put(i, kMov64Imm, 0);
    else
      keep(i, d.width);
    return true;
  }
  if (d.is_signed()) {
    if (!d.is_minus_one()) return false;
    put(i, d.is_modulo() ? kMov64Imm : wide ? kNeg64 : kNeg32, 0);
    return true;
  }
  // Of 64 bits the immediate 0x80000000 is sign-extended and no power of two.
  if (!std::has_single_bit(d.divisor)) return false;
  if (d.is_modulo())
    put(i, wide ? kAnd64Imm : kAnd32Imm, d.divisor - 1);
  else
    put(i, wide ? kRsh64Imm : kRsh32Imm, static_cast<uint64_t>(std::countr_zero(d.divisor)));
  return true;
}

Operation by_constant(const Division& d) {
  using enum Operation;
  const bool wide = d.width == 64;
  if (d.is_signed()) {
    if (d.is_modulo()) return wide ? kSmodBy64 : kSmodBy32;
    return wide ? kSdivBy64 : kSdivBy32;
  }
  if (d.is_modulo()) return wide ? kModBy64 : kModBy32;
  return wide ? kDivBy64 : kDivBy32;
}

Magic magic_of(const Division& d, int32_t divisor) {
  if (d.is_signed()) return signed_magic(divisor, d.width);
  if (d.width == 64) return unsigned_magic64(d.divisor);
  return {unsigned_reciprocal32(static_cast<uint32_t>(d.divisor)), 0, false};
}

}  // namespace

bool concerns_division(Operation op) { return division_at({.op = op}).has_value(); }

bool combine_division(Window& window, uint32_t n) {
  LoweredInstruction& i = window.at(n);
  const auto d = division_at(i);
  if (!d) return false;
  if (divide_by_special(i, *d)) return true;
  // One without a sign that is this large goes once or not at all, and is rare.
  if (!d->is_signed() && d->width == 64 && d->divisor >> 31 != 0) return false;
  const auto divisor = static_cast<int32_t>(static_cast<uint32_t>(d->divisor));
  const Magic magic = magic_of(*d, divisor);
  i.op = by_constant(*d);
  i.src = i.dst;
  i.imm = magic.multiplier;
  i.scale = magic.shift;
  i.index = magic.add ? 1 : 0;
  i.off = divisor;
  return true;
}

}  // namespace skep::vm
