#pragma once

#include <cstdint>
#include <vector>

#include "vm/lowering.hpp"

namespace skep::vm {

// Facts of loops settle after a few sweeps over a function. Code that takes more than this is no compiler's,
// and does without what depends on them.
inline constexpr unsigned kMaxSweeps = 32;

// Which operations are jumped to, or begin a function: 1, else 0.
std::vector<uint8_t> jump_targets(const Code& code);

// Fills in every live_after. Where dead code does not stay, what an operation reads that nobody reads the
// result of is not live for that: drop_dead_code() has to follow.
void find_live_registers(Code& code, bool dead_code_stays);

// Takes out the operations whose mark is not 0 and leads jumps to them to what follows. What ends a function
// has to stay.
void remove_marked(Code& code, const std::vector<uint8_t>& marks);

}  // namespace skep::vm
