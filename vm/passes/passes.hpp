#pragma once

#include "vm/lowering.hpp"
#include "vm/pass.hpp"

// The passes over a program's code that are no rules of the combining walk. All keep find_live_registers()'s
// answer a superset of what is live.
namespace skep::vm {

// For verified mode, where no call costs fuel or is one too deep.
void inline_functions(Code& code, const Lowered& lowered);
void fold_constants(Code& code);
void straighten_jumps(Code& code);
void drop_zero_extensions(Code& code);
// The rules that are on, in one walk.
void combine(Code& code, PassSet passes);
void make_selects(Code& code);
void drop_dead_code(Code& code);
// Leaves the operations as they are and says more of calls.
void find_known_calls(Code& code, const Lowered& lowered);

}  // namespace skep::vm
