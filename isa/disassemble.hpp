#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "isa/instruction.hpp"

namespace skep::isa {

struct DisassembleOptions {
  // The name of the helper with this id, or "". A call is then written as bpftool does: call NAME#ID.
  std::function<std::string_view(int32_t id)> helper_name;
  // What a map reference, a function's address, a variable's address, a local call or a call to a kernel
  // function refers to, or "". It is added as a comment, so that the text can still be assembled.
  std::function<std::string(const Instruction&)> reference;
};

// One instruction in the pseudo-C syntax of LLVM's BPF assembler, on one line. assemble() reads it back to
// the same bytes, and so does clang wherever clang 19 has a syntax for the instruction.
//
// Where llvm-objdump and bpftool differ, the spelling is llvm-objdump's, with two changes: numbers are
// decimal (64-bit immediates are unsigned hexadecimal, as in `r1 = 0x123456789 ll`), and no symbol follows a
// jump's offset. Details:
// - An atomic, load-acquire or store-release of 32 bits or less names its value by the w registers; plain
// loads
//   and stores use the r registers at every width.
// - xchg_64, cmpxchg_64, xchg32_32 and cmpxchg32_32 are LLVM's names for the exchanges.
// - `call 5` calls a helper, `call pc+7` a function of the program, `call kfunc#123` a kernel function
//   (`call kfunc#123, 2` one of the module at index 2), `callx r2` the helper whose id is in r2.
// - References are written in RFC 9669's pseudocode: `r1 = map_by_fd(5)`, `r1 = map_val(map_by_fd(5)) + 8`,
//   `r1 = map_by_idx(0)`, `r1 = map_val(map_by_idx(0)) + 8`, `r1 = var_addr(7)`, `r1 = code_addr(+3)`. A
//   second argument, where there is one, is the immediate of the second slot.
std::string disassemble(const Instruction& instruction, const DisassembleOptions& options = {});

}  // namespace skep::isa
