#include <limits>
#include <optional>

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

// The select that moves where the jump does not jump; nullopt: there is none.
std::optional<Operation> select_unless(Operation jump) {
  using enum Operation;
  switch (static_cast<uint16_t>(jump)) {
#define SKEP_UNLESS(condition, opposite)            \
  case static_cast<uint16_t>(kJ##condition##64Imm): \
    return kSelect##opposite##64Imm;                \
  case static_cast<uint16_t>(kJ##condition##64Reg): \
    return kSelect##opposite##64Reg;                \
  case static_cast<uint16_t>(kJ##condition##32Imm): \
    return kSelect##opposite##32Imm;                \
  case static_cast<uint16_t>(kJ##condition##32Reg): \
    return kSelect##opposite##32Reg;
    SKEP_UNLESS(eq, Ne)
    SKEP_UNLESS(ne, Eq)
    SKEP_UNLESS(gt, Le)
    SKEP_UNLESS(ge, Lt)
    SKEP_UNLESS(lt, Ge)
    SKEP_UNLESS(le, Gt)
    SKEP_UNLESS(sgt, Sle)
    SKEP_UNLESS(sge, Slt)
    SKEP_UNLESS(slt, Sge)
    SKEP_UNLESS(sle, Sgt)
    SKEP_UNLESS(clear, Set)
    SKEP_UNLESS(set, Clear)
#undef SKEP_UNLESS
    default:
      return std::nullopt;
  }
}

// What a move puts into its dst: a register or a number.
struct Moved {
  uint8_t reg;
  int32_t number;
};

std::optional<Moved> moved(const LoweredInstruction& i) {
  if (i.op == Operation::kMov64Reg) return Moved{i.src, 0};
  if (i.op == Operation::kMov64Imm)
    return Moved{kZeroRegister, static_cast<int32_t>(static_cast<uint32_t>(i.imm))};
  // Of 32 bits and not negative: the upper half is zero either way.
  const auto number = static_cast<int32_t>(static_cast<uint32_t>(i.imm));
  if (i.op == Operation::kMov32Imm && number >= 0) return Moved{kZeroRegister, number};
  return std::nullopt;
}

}  // namespace

// if r1 > r2 goto +1; r3 = r4  ->  if r1 <= r2: r3 = r4
void make_selects(Code& code) {
  std::vector<uint8_t> targets;
  std::vector<uint8_t> marks;
  bool made = false;
  for (uint32_t n = 0; n + 2 < code.instructions.size(); ++n) {
    if (!is_conditional_jump(code.instructions[n].op) || code.instructions[n].target != n + 2) continue;
    const LoweredInstruction jump = code.instructions[n];
    if (jump.cost != 0) continue;  // it led back once
    const auto op = select_unless(jump.op);
    const auto value = moved(code.instructions[n + 1]);
    if (!op || !value) continue;
    if (targets.empty()) targets = jump_targets(code);
    if (targets[n + 1] != 0) continue;
    marks.resize(code.instructions.size());
    LoweredInstruction& i = code.instructions[n + 1];
    i.op = *op;
    i.index = jump.dst;
    i.src = jump.src;
    i.imm = jump.imm;
    i.scale = value->reg;
    i.off = value->number;
    marks[n] = 1;
    made = true;
  }
  if (made) remove_marked(code, marks);
}

}  // namespace skep::vm
