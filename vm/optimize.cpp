#include "vm/optimize.hpp"

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"

namespace skep::vm {

Code optimize(const Lowered& lowered, PassSet passes) {
  Code code{lowered.code, {}, {}};
  code.functions.reserve(lowered.subprograms.size());
  for (const Subprogram& function : lowered.subprograms)
    code.functions.push_back({function.begin, function.end});
  if (passes.has(Pass::kZeroExtension)) drop_zero_extensions(code);
  find_live_registers(code);
  combine(code, passes);
  if (passes.has(Pass::kSelect)) make_selects(code);
  if (passes.has(Pass::kDeadCode)) {
    find_live_registers(code);
    drop_dead_code(code);
  }
  if (passes.has(Pass::kKnownCalls) && !lowered.call_sites.empty()) find_known_calls(code, lowered);
  return code;
}

}  // namespace skep::vm
