#include <vector>

#include "vm/flow.hpp"
#include "vm/passes/branches.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

bool is_goto(const LoweredInstruction& i) { return i.op == Operation::kGoto || i.op == Operation::kGotol; }

// Leads a jump past the gotos at its target. One that costs fuel stays: where the fuel ends is its slot.
void follow(const Code& code, LoweredInstruction& jump) {
  constexpr unsigned kMaxHops = 8;  // there are circles of gotos
  for (unsigned hops = 0; hops < kMaxHops; ++hops) {
    const LoweredInstruction& next = code.instructions[jump.target];
    if (!is_goto(next) || next.cost != 0) return;
    jump.target = next.target;
  }
}

// if r1 > r2 goto +1; goto x  ->  if r1 <= r2 goto x
bool negate(LoweredInstruction& i, const LoweredInstruction& next) {
  if (i.cost != 0) return false;  // it led back once: both ways may cost fuel
  const auto op = negated_jump(i.op);
  if (!op) return false;
  i.op = *op;
  i.target = next.target;
  i.cost = next.cost;
  i.slot = next.slot;
  return true;
}

}  // namespace

void straighten_jumps(Code& code) {
  std::vector<LoweredInstruction>& operations = code.instructions;
  bool short_jumps = false;  // over one operation or none
  for (uint32_t n = 0; n < operations.size(); ++n) {
    LoweredInstruction& i = operations[n];
    if (!is_jump(i.op)) continue;
    follow(code, i);
    if (is_goto(i) && i.cost == 0 && operations[i.target].op == Operation::kExit) i.op = Operation::kExit;
    short_jumps = short_jumps || i.target == n + 1 || (i.target == n + 2 && is_goto(operations[n + 1]));
  }
  if (!short_jumps) return;
  const std::vector<uint8_t> targets = jump_targets(code);
  std::vector<uint8_t> marks(operations.size());
  bool dropped = false;
  for (uint32_t n = 0; n + 1 < operations.size(); ++n) {
    LoweredInstruction& i = operations[n];
    if (!is_jump(i.op) || i.op == Operation::kMayGoto || marks[n] != 0) continue;
    const LoweredInstruction& next = operations[n + 1];
    if (i.target == n + 2 && is_goto(next) && targets[n + 1] == 0 && negate(i, next))
      marks[n + 1] = 1;
    else if (i.target == n + 1 && i.cost == 0)
      marks[n] = 1;
    else
      continue;
    dropped = true;
  }
  if (dropped) remove_marked(code, marks);
}

}  // namespace skep::vm
