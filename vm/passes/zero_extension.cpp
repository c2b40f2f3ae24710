#include <algorithm>
#include <limits>
#include <vector>

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

using isa::AluOp;
using isa::Class;

// Whether what an operation writes to dst has a zero upper half, whatever its operands.
bool clears_upper_half(const LoweredInstruction& i) {
  if (is_fused(i.op)) return false;  // there are none yet
  const isa::Row& row = isa::row(isa_op(i.op));
  switch (row.cls) {
    case Class::kAlu:
      if (row.width == 32) return true;
      if (row.alu() == AluOp::kLe16 || row.alu() == AluOp::kLe32 || row.alu() == AluOp::kBe16 ||
          row.alu() == AluOp::kBe32 || row.alu() == AluOp::kBswap16 || row.alu() == AluOp::kBswap32)
        return true;
      if (row.source != isa::Source::kImm) return false;
      if (row.alu() == AluOp::kMov || row.alu() == AluOp::kAnd) return i.imm >> 32 == 0;
      return row.alu() == AluOp::kRsh && i.imm >= 32 && i.imm < 64;
    case Class::kLoad:
      return row.width < 64 && !row.is_signed();
    case Class::kLdImm:
      return i.imm >> 32 == 0;
    case Class::kJump:
    case Class::kStore:
    case Class::kAtomic:
    case Class::kOrdered:
    case Class::kPacket:
    case Class::kControl:
      return false;
  }
  return false;
}

// Which registers have a zero upper half after an operation, given those that had it before.
RegisterSet after(const LoweredInstruction& i, RegisterSet zero) {
  constexpr unsigned kWrites =
      traits::kWritesDst | traits::kWritesSrc | traits::kWritesR0 | traits::kClobbersArguments;
  if ((traits::of(i.op) & kWrites) == 0) return zero;
  const RegisterSet writes = register_use(i).writes;
  const bool copy = i.op == Operation::kMov64Reg;
  const bool clears = copy ? (zero & register_set(i.src)) != 0 : clears_upper_half(i);
  const auto rest = static_cast<RegisterSet>(zero & ~writes);
  return clears ? static_cast<RegisterSet>(rest | register_set(i.dst)) : rest;
}

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

// Goes from an operation to the function's end. Returns the first loop's head that was reached with less
// after it had been passed; kNone: there is none.
uint32_t sweep(const Code& code, const Code::Range& range, std::vector<RegisterSet>& before) {
  uint32_t again = kNone;
  for (uint32_t n = range.begin; n < range.end; ++n) {
    const LoweredInstruction& i = code.instructions[n];
    const RegisterSet zero = after(i, before[n]);
    if (is_jump(i.op)) {
      const auto met = static_cast<RegisterSet>(before[i.target] & zero);
      if (i.target <= n && met != before[i.target]) again = std::min(again, i.target);
      before[i.target] = met;
    }
    if (!ends_flow(i.op) && n + 1 < range.end) before[n + 1] &= zero;
  }
  return again;
}

// For each operation: the registers with a zero upper half before it, on every way to it.
std::vector<RegisterSet> find_zero_halves(const Code& code) {
  constexpr RegisterSet kAll = 0x7ff;
  std::vector<RegisterSet> before(code.instructions.size(), kAll);
  for (const Code::Range& range : code.functions) {
    before[range.begin] = 0;
    unsigned sweeps = 0;
    for (uint32_t from = range.begin; from != kNone; from = sweep(code, {from, range.end}, before))
      if (++sweeps > kMaxSweeps) return std::vector<RegisterSet>(code.instructions.size());
  }
  return before;
}

}  // namespace

void drop_zero_extensions(Code& code) {
  bool any = false;
  for (const LoweredInstruction& i : code.instructions) any = any || i.op == Operation::kMov32Reg;
  if (!any) return;
  const std::vector<RegisterSet> before = find_zero_halves(code);
  std::vector<uint8_t> marks(code.instructions.size());
  bool dropped = false;
  for (size_t n = 0; n < marks.size(); ++n) {
    LoweredInstruction& i = code.instructions[n];
    if (i.op != Operation::kMov32Reg || (before[n] & register_set(i.src)) == 0) continue;
    i.op = Operation::kMov64Reg;
    if (i.src != i.dst) continue;
    marks[n] = 1;
    dropped = true;
  }
  if (dropped) remove_marked(code, marks);
}

}  // namespace skep::vm
