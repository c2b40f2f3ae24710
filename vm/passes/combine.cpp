#include <array>
#include <bit>
#include <iterator>

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

struct Rule {
  Pass pass;
  bool (*apply)(Window&, uint32_t);
  bool (*concerns)(Operation);
};

// In the order they are tried; an operation that one has changed is shown to the ones after it.
constexpr Rule kRules[] = {
    {Pass::kDivision, combine_division, concerns_division},
    {Pass::kRotate, combine_rotate, concerns_rotate},
    {Pass::kThreeOperand, combine_sum, concerns_sum},
    {Pass::kThreeOperand, combine_copy, concerns_copy},
    {Pass::kAddressing, combine_address, concerns_address},
    {Pass::kByteSwap, combine_byte_swap, concerns_byte_swap},
    {Pass::kTest, combine_test, concerns_test},
};

// Rules as a set: bit n is kRules[n].
using RuleSet = uint8_t;
static_assert(std::size(kRules) <= 8);

RuleSet rules_that_are_on(PassSet passes) {
  RuleSet out = 0;
  for (size_t n = 0; n < std::size(kRules); ++n)
    if (passes.has(kRules[n].pass)) out = static_cast<RuleSet>(out | 1U << n);
  return out;
}

// By operation: the rules that it concerns. Most operations concern none or one.
const std::array<RuleSet, kOperations>& rules_by_operation() {
  static const auto kRulesOf = [] {
    std::array<RuleSet, kOperations> out{};
    for (uint16_t op = 0; op < kOperations; ++op)
      for (size_t n = 0; n < std::size(kRules); ++n)
        if (kRules[n].concerns(static_cast<Operation>(op))) out[op] = static_cast<RuleSet>(out[op] | 1U << n);
    return out;
  }();
  return kRulesOf;
}

}  // namespace

void combine(Code& code, PassSet passes) {
  const RuleSet on = rules_that_are_on(passes);
  if (on == 0) return;
  const std::array<RuleSet, kOperations>& rules_of = rules_by_operation();
  const std::vector<uint8_t> targets = jump_targets(code);
  Window window(code);
  bool changed = false;
  bool block_begins = true;
  for (uint32_t n = 0; n < code.instructions.size(); ++n) {
    if (block_begins || targets[n] != 0) window.begin_block(n);
    const LoweredInstruction& i = code.instructions[n];
    for (unsigned left = rules_of[static_cast<size_t>(i.op)] & on; left != 0;) {
      const auto rule = static_cast<unsigned>(std::countr_zero(left));
      left &= left - 1;
      if (!kRules[rule].apply(window, n)) continue;
      changed = true;
      left = rules_of[static_cast<size_t>(i.op)] & on & (~1U << rule);
    }
    window.pass(n);
    block_begins = (traits::of(i.op) & (traits::kJumps | traits::kEndsFlow)) != 0;
  }
  if (changed) remove_marked(code, window.marks());
}

}  // namespace skep::vm
