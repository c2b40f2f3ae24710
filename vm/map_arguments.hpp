#pragma once

#include "vm/lowering.hpp"

namespace skep::vm {

// Refuses a call that passes a map to a helper which its type's registry row does not name, with the words of
// the kernel's check_map_func_compatibility(). Looks at maps that a function loads in the same basic block;
// what comes from elsewhere the helper refuses when it runs. Code that constants keep from running is let
// pass, as the kernel's verifier does not look at it: compilers leave such code where a program chooses
// between maps by what the kernel offers.
Result<void> check_map_arguments(const Lowered& lowered);

}  // namespace skep::vm
