#include <tuple>

#include "jit/emitter.hpp"

namespace skep::jit {

using asmjit::imm;
using asmjit::x86::CondCode;
using isa::Condition;
using isa::Source;
namespace x86 = asmjit::x86;

CondCode condition_code(Condition condition) {
  switch (condition) {
    case Condition::kEq:
      return CondCode::kE;
    case Condition::kNe:
    case Condition::kSet:
      return CondCode::kNE;
    case Condition::kGt:
      return CondCode::kUnsignedGT;
    case Condition::kGe:
      return CondCode::kUnsignedGE;
    case Condition::kLt:
      return CondCode::kUnsignedLT;
    case Condition::kLe:
      return CondCode::kUnsignedLE;
    case Condition::kSgt:
      return CondCode::kSignedGT;
    case Condition::kSge:
      return CondCode::kSignedGE;
    case Condition::kSlt:
      return CondCode::kSignedLT;
    case Condition::kSle:
      return CondCode::kSignedLE;
  }
  return CondCode::kE;
}

void Emitter::compare(const Instruction& i, Condition condition, unsigned width, Source source) {
  const Gp dst = part(native(i.dst), width);
  const bool test = condition == Condition::kSet;
  if (source == Source::kReg) {
    const Gp src = part(native(i.src), width);
    if (test)
      a_.test(dst, src);
    else
      a_.cmp(dst, src);
    return;
  }
  if (test)
    test_mask(i, width);
  else if (i.imm == 0)
    a_.test(dst, dst);  // leaves the flags that a comparison with 0 leaves
  else
    a_.emit(x86::Inst::kIdCmp, dst, constant(immediate(i), width, kAddress));
}

// A mask without its sign bit looks at as few bits as it has: the code is shorter and sets the zero flag
// alike.
void Emitter::test_mask(const Instruction& i, unsigned width) {
  const Gp dst = native(i.dst);
  if (options_.blinding) {
    a_.emit(x86::Inst::kIdTest, part(dst, width), constant(immediate(i), width, kAddress));
    return;
  }
  const auto mask = static_cast<uint32_t>(i.imm);
  if (mask <= 0x7f)
    a_.test(dst.r8(), imm(mask));
  else if (mask <= 0x7fffffff)
    a_.test(dst.r32(), imm(mask));
  else
    a_.test(part(dst, width), imm(static_cast<int32_t>(mask)));
}

// Whether the flags are still those of the jump just before, which has compared the same.
bool Emitter::compared_before(const Instruction& i) const {
  const uint32_t n = index_of(i);
  if (n == 0 || analysis_.is_target(n)) return false;
  const Instruction& before = operations_[n - 1];
  const auto shape = [](const Instruction& jump) -> std::tuple<unsigned, Source, bool> {
    if (vm::is_fused(jump.op)) {
      const vm::FusedRow& row = vm::fused_row(jump.op);
      return {row.kind == vm::Fused::kJumpClear ? row.width : 0, row.source, true};
    }
    const isa::Row& row = isa::row(vm::isa_op(jump.op));
    return {row.cls == isa::Class::kJump ? row.width : 0, row.source, row.condition() == Condition::kSet};
  };
  return shape(before) == shape(i) && before.dst == i.dst && before.src == i.src && before.imm == i.imm;
}

// Jumps where the condition holds, or where it does not.
void Emitter::conditional_jump(const Instruction& i, Condition condition, unsigned width, Source source,
                               bool negated) {
  if (!compared_before(i)) compare(i, condition, width, source);
  const CondCode holds = condition_code(condition);
  const CondCode taken = negated ? x86::negateCond(holds) : holds;
  if (checked() && i.cost != 0) {
    const Label next = a_.newLabel();
    a_.short_().j(x86::negateCond(taken), next);
    jump(i);
    a_.bind(next);
    return;
  }
  if (is_near(index_of(i), i.target)) a_.short_();
  a_.j(taken, label_of(i.target));
}

void Emitter::jump(const Instruction& i) {
  charge(i);
  if (is_near(index_of(i), i.target)) a_.short_();
  a_.jmp(label_of(i.target));
}

void Emitter::may_goto(const Instruction& i) {
  const Mem loops_left = x86::qword_ptr(x86::rsp, frame_bytes_ - 8);
  const Label next = a_.newLabel();
  a_.sub(loops_left, 1);
  a_.jnc(next);
  a_.mov(loops_left, 0);
  jump(i);
  a_.bind(next);
}

}  // namespace skep::jit
