#include <array>

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

using isa::Class;

constexpr unsigned bit(Class cls) { return 1U << static_cast<unsigned>(cls); }

struct Rule {
  Pass pass;
  bool (*apply)(Window&, uint32_t);
  unsigned classes;  // of the instructions that it looks at
};

// An operation that a rule has changed is shown to the ones after it.
constexpr Rule kRules[] = {
    {Pass::kDivision, combine_division, bit(Class::kAlu)},
    {Pass::kRotate, combine_rotate, bit(Class::kAlu)},
    {Pass::kThreeOperand, combine_sum, bit(Class::kAlu)},
    {Pass::kThreeOperand, combine_copy, bit(Class::kAlu)},
    {Pass::kAddressing, combine_address, bit(Class::kLoad) | bit(Class::kStore)},
    {Pass::kByteSwap, combine_byte_swap, bit(Class::kAlu) | bit(Class::kStore)},
    {Pass::kTest, combine_test, bit(Class::kJump)},
};

unsigned class_bit(Operation op) { return is_fused(op) ? bit(Class::kAlu) : bit(isa::row(isa_op(op)).cls); }

}  // namespace

void combine(Code& code, PassSet passes) {
  const std::vector<uint8_t> targets = jump_targets(code);
  Window window(code);
  bool changed = false;
  bool block_begins = true;
  for (uint32_t n = 0; n < code.instructions.size(); ++n) {
    if (block_begins || targets[n] != 0) window.begin_block(n);
    const unsigned cls = class_bit(code.instructions[n].op);
    for (const Rule& rule : kRules)
      if ((rule.classes & cls) != 0 && passes.has(rule.pass) && rule.apply(window, n)) changed = true;
    window.pass(n);
    block_begins = is_jump(code.instructions[n].op) || ends_flow(code.instructions[n].op);
  }
  if (changed) remove_marked(code, window.marks());
}

}  // namespace skep::vm
