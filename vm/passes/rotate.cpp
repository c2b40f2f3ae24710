#include <optional>

#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

struct Shift {
  uint32_t at;  // the operation
  bool left;
  unsigned width;
  uint64_t count;
  uint8_t reg;  // what is shifted
};

std::optional<Shift> shift_at(Window& window, uint32_t n) {
  using enum Operation;
  const LoweredInstruction& i = window.at(n);
  switch (static_cast<uint16_t>(i.op)) {
    case static_cast<uint16_t>(kLsh64Imm):
      return Shift{n, true, 64, i.imm, i.dst};
    case static_cast<uint16_t>(kLsh64Imm3):
      return Shift{n, true, 64, i.imm, i.src};
    case static_cast<uint16_t>(kRsh64Imm):
      return Shift{n, false, 64, i.imm, i.dst};
    case static_cast<uint16_t>(kRsh64Imm3):
      return Shift{n, false, 64, i.imm, i.src};
    case static_cast<uint16_t>(kLsh32Imm):
      return Shift{n, true, 32, i.imm, i.dst};
    case static_cast<uint16_t>(kLsh32Imm3):
      return Shift{n, true, 32, i.imm, i.src};
    case static_cast<uint16_t>(kRsh32Imm):
      return Shift{n, false, 32, i.imm, i.dst};
    case static_cast<uint16_t>(kRsh32Imm3):
      return Shift{n, false, 32, i.imm, i.src};
    default:
      return std::nullopt;
  }
}

// The width if the operation puts together bits that do not overlap, else 0.
unsigned joins(Operation op) {
  using enum Operation;
  if (op == kOr64Reg || op == kXor64Reg || op == kAdd64Reg) return 64;
  if (op == kOr32Reg || op == kXor32Reg || op == kAdd32Reg) return 32;
  return 0;
}

// A value, by where it stands: a register and which of its versions.
struct Value {
  uint8_t reg;
  Window::Version version;
  friend bool operator==(const Value&, const Value&) = default;
};

// Where a value was copied from, if it was.
Value origin(Window& window, Value value, unsigned width) {
  while (value.version != 0 && value.version < ~Window::Version{0} / 2) {
    const uint32_t n = value.version - 1;
    const LoweredInstruction& i = window.at(n);
    const bool copy = i.op == Operation::kMov64Reg || (width == 32 && i.op == Operation::kMov32Reg);
    if (!copy || i.src == i.dst) break;
    value = {i.src, window.version_before(i.src, n)};
  }
  return value;
}

// A register that holds the value now, supposing that both shifts go.
std::optional<Value> holder(Window& window, const Shift& a, const Shift& b, unsigned width) {
  const Value in_a{a.reg, window.version_before(a.reg, a.at)};
  const Value in_b{b.reg, window.version_before(b.reg, b.at)};
  const Value source = origin(window, in_a, width);
  if (source != origin(window, in_b, width)) return std::nullopt;
  for (const Value& value : {source, in_a, in_b})
    if (window.version_without(value.reg, a.at, b.at) == value.version) return value;
  return std::nullopt;
}

}  // namespace

bool concerns_rotate(Operation op) { return joins(op) != 0; }

bool combine_rotate(Window& window, uint32_t n) {
  LoweredInstruction& i = window.at(n);
  const unsigned width = joins(i.op);
  if (width == 0 || i.dst == i.src) return false;
  const auto from_dst = window.producer(i.dst);
  const auto from_src = window.sole_producer(i.src, n);
  if (!from_dst || !from_src) return false;
  const auto a = shift_at(window, *from_dst);
  const auto b = shift_at(window, *from_src);
  if (!a || !b || a->width != width || b->width != width || a->left == b->left) return false;
  if (a->count == 0 || b->count == 0 || a->count + b->count != width) return false;
  const auto value = holder(window, *a, *b, width);
  if (!value) return false;
  window.remove(a->at);
  window.remove(b->at);
  window.extend(value->reg, value->version == 0 ? window.block() : value->version - 1, n);
  i.op = width == 64 ? Operation::kRotate64 : Operation::kRotate32;
  i.src = value->reg;
  i.imm = a->left ? a->count : b->count;
  return true;
}

}  // namespace skep::vm
