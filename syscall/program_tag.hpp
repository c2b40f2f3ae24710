#pragma once

#include <span>

#include "isa/instruction.hpp"
#include "syscall/objects.hpp"

namespace skep::sys {

// The tag that names a program by its code: the beginning of the SHA-1 of its instructions, without the
// descriptors of its maps (bpf_prog_calc_tag of Linux up to 6.17).
ProgramTag program_tag(std::span<const isa::Encoded> code, std::span<const isa::Instruction> decoded);

}  // namespace skep::sys
