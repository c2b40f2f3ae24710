#include "jit/emitter.hpp"

namespace skep::jit {

using asmjit::imm;
using asmjit::x86::CondCode;
using isa::Condition;
using isa::Source;
namespace x86 = asmjit::x86;

namespace {

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

}  // namespace

void Emitter::compare(const Instruction& i, const isa::Row& row) {
  const Gp dst = part(native(i.dst), row.width);
  const bool test = row.condition() == Condition::kSet;
  if (row.source == Source::kReg) {
    const Gp src = part(native(i.src), row.width);
    if (test)
      a_.test(dst, src);
    else
      a_.cmp(dst, src);
    return;
  }
  const auto value = imm(static_cast<int32_t>(static_cast<uint32_t>(i.imm)));
  if (test)
    a_.test(dst, value);
  else if (i.imm == 0)
    a_.test(dst, dst);  // leaves the flags that a comparison with 0 leaves
  else
    a_.cmp(dst, value);
}

void Emitter::conditional_jump(const Instruction& i, const isa::Row& row) {
  compare(i, row);
  const CondCode taken = condition_code(row.condition());
  if (checked() && i.cost != 0) {
    const Label next = a_.newLabel();
    a_.short_().j(x86::negateCond(taken), next);
    jump(i);
    a_.bind(next);
    return;
  }
  if (is_near(static_cast<uint32_t>(&i - program_.code().data()), i.target)) a_.short_();
  a_.j(taken, label_of(i.target));
}

void Emitter::jump(const Instruction& i) {
  charge(i);
  if (is_near(static_cast<uint32_t>(&i - program_.code().data()), i.target)) a_.short_();
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
