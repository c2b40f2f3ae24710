#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

struct Rule {
  Pass pass;
  bool (*apply)(Window&, uint32_t);
};

// An operation that a rule has changed is shown to the ones after it.
constexpr Rule kRules[] = {
    {Pass::kDivision, combine_division},  {Pass::kRotate, combine_rotate},
    {Pass::kThreeOperand, combine_sum},   {Pass::kThreeOperand, combine_copy},
    {Pass::kAddressing, combine_address}, {Pass::kByteSwap, combine_byte_swap},
    {Pass::kTest, combine_test},
};

}  // namespace

void combine(Code& code, PassSet passes) {
  const std::vector<uint8_t> targets = jump_targets(code);
  Window window(code);
  bool changed = false;
  bool block_begins = true;
  for (uint32_t n = 0; n < code.instructions.size(); ++n) {
    if (block_begins || targets[n] != 0) window.begin_block(n);
    for (const Rule& rule : kRules)
      if (passes.has(rule.pass) && rule.apply(window, n)) changed = true;
    window.pass(n);
    block_begins = is_jump(code.instructions[n].op) || ends_flow(code.instructions[n].op);
  }
  if (changed) remove_marked(code, window.marks());
}

}  // namespace skep::vm
