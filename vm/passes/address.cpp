#include <limits>
#include <optional>

#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

constexpr uint8_t kMaxScale = 3;  // a factor of 8, the largest the machine has

// base + (index << scale) + off
struct Sum {
  uint8_t base = kZeroRegister;
  uint8_t index = kZeroRegister;
  uint8_t scale = 0;
  int64_t off = 0;
};

// A displacement keeps to what an instruction can say of its own. Larger numbers stay an operation's, where
// the JIT can blind them.
bool fits_displacement(int64_t value) {
  return value >= std::numeric_limits<int16_t>::min() && value <= std::numeric_limits<int16_t>::max();
}

bool fits(int64_t value) {
  return value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max();
}

int64_t immediate(const LoweredInstruction& i) { return static_cast<int64_t>(i.imm); }

std::optional<Sum> shifted(const LoweredInstruction& i, uint8_t reg) {
  if (i.imm > kMaxScale) return std::nullopt;
  return Sum{.index = reg, .scale = static_cast<uint8_t>(i.imm)};
}

// What a 64-bit operation computes, as a sum.
std::optional<Sum> sum_of(const LoweredInstruction& i) {
  using enum Operation;
  switch (static_cast<uint16_t>(i.op)) {
    case static_cast<uint16_t>(kMov64Reg):
      return Sum{.base = i.src};
    case static_cast<uint16_t>(kAdd64Reg):
      return Sum{.base = i.dst, .index = i.src};
    case static_cast<uint16_t>(kAdd64Imm):
      return Sum{.base = i.dst, .off = immediate(i)};
    case static_cast<uint16_t>(kSub64Imm):
      return Sum{.base = i.dst, .off = -immediate(i)};
    case static_cast<uint16_t>(kLsh64Imm):
      return shifted(i, i.dst);
    case static_cast<uint16_t>(kLsh64Imm3):
      return shifted(i, i.src);
    case static_cast<uint16_t>(kAddress64):
      return Sum{i.src, i.index, i.scale, i.off};
    default:
      return std::nullopt;
  }
}

// The same for the low 32 bits, which 64-bit operations compute as well.
std::optional<Sum> low_sum_of(const LoweredInstruction& i) {
  using enum Operation;
  switch (static_cast<uint16_t>(i.op)) {
    case static_cast<uint16_t>(kMov32Reg):
      return Sum{.base = i.src};
    case static_cast<uint16_t>(kAdd32Reg):
      return Sum{.base = i.dst, .index = i.src};
    case static_cast<uint16_t>(kAdd32Imm):
      return Sum{.base = i.dst, .off = immediate(i)};
    case static_cast<uint16_t>(kSub32Imm):
      return Sum{.base = i.dst, .off = -immediate(i)};
    case static_cast<uint16_t>(kLsh32Imm):
      return shifted(i, i.dst);
    case static_cast<uint16_t>(kLsh32Imm3):
      return shifted(i, i.src);
    case static_cast<uint16_t>(kAddress32):
      return Sum{i.src, i.index, i.scale, i.off};
    default:
      return sum_of(i);
  }
}

// `outer` with `inner` in place of its base.
std::optional<Sum> in_place_of_base(const Sum& outer, const Sum& inner) {
  Sum out{inner.base, inner.index, inner.scale, outer.off + inner.off};
  if (!fits(out.off)) return std::nullopt;
  if (outer.index == kZeroRegister) return out;
  if (inner.index == kZeroRegister) {
    out.index = outer.index;
    out.scale = outer.scale;
    return out;
  }
  if (inner.base != kZeroRegister || outer.scale != 0) return std::nullopt;
  out.base = outer.index;
  return out;
}

// `outer` with `inner` in place of its index.
std::optional<Sum> in_place_of_index(const Sum& outer, const Sum& inner) {
  Sum out = outer;
  const bool one_term = inner.base == kZeroRegister || inner.index == kZeroRegister;
  if (!one_term) {
    if (outer.base != kZeroRegister || outer.scale != 0) return std::nullopt;
    out = {inner.base, inner.index, inner.scale, outer.off + inner.off};
    return fits(out.off) ? std::optional(out) : std::nullopt;
  }
  out.index = inner.index == kZeroRegister ? inner.base : inner.index;
  out.scale = static_cast<uint8_t>(outer.scale + (inner.index == kZeroRegister ? 0 : inner.scale));
  // Shifting the offset could only overflow where it does not fit anyway.
  out.off = outer.off + static_cast<int64_t>(static_cast<uint64_t>(inner.off) << outer.scale);
  if (out.scale > kMaxScale || !fits(inner.off) || !fits(out.off)) return std::nullopt;
  return out;
}

using SumOf = std::optional<Sum> (*)(const LoweredInstruction&);

// Folds what computed one of the sum's registers into the sum, as operation n reads it. `other` is a register
// that n reads besides.
class Folding {
 public:
  Folding(Window& window, uint32_t n, Sum sum, uint8_t other, SumOf sum_of_producer, bool (*fits)(int64_t))
      : window_(window), n_(n), sum_(sum), other_(other), sum_of_(sum_of_producer), fits_(fits) {}

  bool run() {
    bool folded = false;
    while (fold(sum_.base, in_place_of_base) || fold(sum_.index, in_place_of_index)) folded = true;
    return folded;
  }
  const Sum& sum() const { return sum_; }

 private:
  bool fold(uint8_t reg, std::optional<Sum> (*compose)(const Sum&, const Sum&)) {
    if (reg >= isa::kFramePointer || reg == other_ || sum_.base == sum_.index) return false;
    const auto from = window_.sole_producer(reg, n_);
    if (!from) return false;
    const auto inner = sum_of_(window_.at(*from));
    if (!inner || !window_.holds_since(inner->base, *from) || !window_.holds_since(inner->index, *from))
      return false;
    const auto outer = compose(sum_, *inner);
    if (!outer || !fits_(outer->off)) return false;
    window_.remove(*from);
    window_.extend(inner->base, *from, n_);
    window_.extend(inner->index, *from, n_);
    sum_ = *outer;
    return true;
  }

  Window& window_;
  uint32_t n_;
  Sum sum_;
  uint8_t other_;
  SumOf sum_of_;
  bool (*fits_)(int64_t);  // of the offset
};

void put(LoweredInstruction& i, uint8_t LoweredInstruction::* base, const Sum& sum) {
  const bool one_register = sum.base == kZeroRegister && sum.scale == 0;
  i.*base = one_register ? sum.index : sum.base;
  i.index = one_register ? kZeroRegister : sum.index;
  i.scale = sum.scale;
  i.off = static_cast<int32_t>(sum.off);
}

// The operation of operations.def that does the same at any address; itself if it does already.
std::optional<Operation> indexed(Operation op) {
  using enum Operation;
  switch (static_cast<uint16_t>(op)) {
#define SKEP_INDEXED(name, with_index)       \
  case static_cast<uint16_t>(k##name):       \
  case static_cast<uint16_t>(k##with_index): \
    return k##with_index;
    SKEP_INDEXED(Ldx8, LdxIndexed8)
    SKEP_INDEXED(Ldx16, LdxIndexed16)
    SKEP_INDEXED(Ldx32, LdxIndexed32)
    SKEP_INDEXED(Ldx64, LdxIndexed64)
    SKEP_INDEXED(Ldsx8, LdsxIndexed8)
    SKEP_INDEXED(Ldsx16, LdsxIndexed16)
    SKEP_INDEXED(Ldsx32, LdsxIndexed32)
    SKEP_INDEXED(St8, StIndexed8)
    SKEP_INDEXED(St16, StIndexed16)
    SKEP_INDEXED(St32, StIndexed32)
    SKEP_INDEXED(St64, StIndexed64)
    SKEP_INDEXED(Stx8, StxIndexed8)
    SKEP_INDEXED(Stx16, StxIndexed16)
    SKEP_INDEXED(Stx32, StxIndexed32)
    SKEP_INDEXED(Stx64, StxIndexed64)
#undef SKEP_INDEXED
    default:
      return std::nullopt;
  }
}

bool is_store(Operation op) {
  return is_fused(op) ? fused_row(op).kind == Fused::kStoreIndexed
                      : isa::row(isa_op(op)).cls == isa::Class::kStore;
}

isa::Source stored(Operation op) { return is_fused(op) ? fused_row(op).source : isa::row(isa_op(op)).source; }

}  // namespace

bool concerns_sum(Operation op) {
  using enum Operation;
  const bool shift = op == kLsh64Imm || op == kLsh64Imm3 || op == kLsh32Imm || op == kLsh32Imm3;
  return !shift && low_sum_of({.op = op}).has_value();
}

bool combine_sum(Window& window, uint32_t n) {
  LoweredInstruction& i = window.at(n);
  const auto wide = sum_of(i);
  const auto sum = wide ? wide : low_sum_of(i);
  const bool shift = sum && sum->base == kZeroRegister && sum->index != kZeroRegister;
  if (!sum || shift) return false;
  Folding folding(window, n, *sum, kZeroRegister, wide ? sum_of : low_sum_of, fits);
  if (!folding.run()) return false;
  put(i, &LoweredInstruction::src, folding.sum());
  const bool copy = i.index == kZeroRegister && i.off == 0;
  if (wide)
    i.op = copy ? Operation::kMov64Reg : Operation::kAddress64;
  else
    i.op = copy ? Operation::kMov32Reg : Operation::kAddress32;
  return true;
}

bool concerns_address(Operation op) { return indexed(op).has_value(); }

bool combine_address(Window& window, uint32_t n) {
  LoweredInstruction& i = window.at(n);
  const auto with_index = indexed(i.op);
  if (!with_index) return false;
  const bool store = is_store(i.op);
  const bool stores_register = store && stored(i.op) == isa::Source::kReg;
  const Sum sum{store ? i.dst : i.src, i.index, i.scale, i.off};
  Folding folding(window, n, sum, stores_register ? i.src : kZeroRegister, sum_of, fits_displacement);
  if (!folding.run()) return false;
  put(i, store ? &LoweredInstruction::dst : &LoweredInstruction::src, folding.sum());
  if (i.index != kZeroRegister) i.op = *with_index;
  return true;
}

}  // namespace skep::vm
