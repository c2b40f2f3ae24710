#pragma once

#include <span>

#include "vm/helper.hpp"

namespace skep::helpers {

// The helper table: one row per built-in helper, and the only list of them. Semantics and argument kinds are
// those of the kernel's struct bpf_func_proto of each (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c,
// net/core/filter.c).
std::span<const vm::HelperRow> builtin_helpers();

}  // namespace skep::helpers
