#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "isa/instruction.hpp"
#include "syscall/objects.hpp"

namespace skep::sys {

class ObjectTable;

// What BPF_OBJ_GET_INFO_BY_FD shows of a program's code.

// The instructions, with the ids of maps where the load had descriptors (bpf_insn_prepare_dump).
std::vector<isa::Encoded> dump_instructions(const ProgramObject& object, const ObjectTable& objects);

// The machine code by function and line; empty where there is none.
struct MachineCode {
  std::span<const uint8_t> bytes;
  std::vector<uint64_t> functions;       // addresses
  std::vector<uint32_t> function_sizes;  // bytes
  std::vector<uint64_t> lines;           // addresses, one for each of the program's line records
};
MachineCode dump_machine_code(const ProgramObject& object, const vm::Executable& executable);

// A tag for each function.
std::vector<ProgramTag> function_tags(const ProgramObject& object);

}  // namespace skep::sys
