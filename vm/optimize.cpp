#include "vm/optimize.hpp"

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"

namespace skep::vm {

namespace {

// What a mode lets passes rely on. Verified programs end by themselves, and their functions read no register
// but those that they get.
void prepare(Code& code, Mode mode) {
  constexpr int32_t kAll = 0x7ff;
  constexpr int32_t kGiven = 0x43e;  // r1 to r5 and r10
  for (LoweredInstruction& i : code.instructions) {
    if (i.op == Operation::kCallLocal) i.off = mode == Mode::kVerified ? kGiven : kAll;
    if (mode == Mode::kVerified) i.cost = 0;
  }
}

}  // namespace

Code optimize(const Lowered& lowered, PassSet passes, Mode mode) {
  Code code{lowered.code, {}, {}};
  code.functions.reserve(lowered.subprograms.size());
  for (const Subprogram& function : lowered.subprograms)
    code.functions.push_back({function.begin, function.end});
  prepare(code, mode);
  if (mode == Mode::kVerified && passes.has(Pass::kInlining)) inline_functions(code, lowered);
  if (passes.has(Pass::kConstantFolding)) fold_constants(code);
  if (passes.has(Pass::kJumps)) straighten_jumps(code);
  if (passes.has(Pass::kZeroExtension)) drop_zero_extensions(code);
  const bool dead_code_stays = !passes.has(Pass::kDeadCode);
  find_live_registers(code, dead_code_stays);
  if (!dead_code_stays) drop_dead_code(code);
  combine(code, passes);
  if (passes.has(Pass::kSelect)) make_selects(code);
  if (passes.has(Pass::kKnownCalls) && !lowered.call_sites.empty()) find_known_calls(code, lowered);
  return code;
}

}  // namespace skep::vm
