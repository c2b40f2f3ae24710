#include "syscall/program_dump.hpp"

#include <algorithm>

#include "syscall/object_table.hpp"
#include "syscall/program_tag.hpp"
#include "vm/engine.hpp"

namespace skep::sys {
namespace {

bool refers_to_map(isa::Op op) {
  return op == isa::Op::kLdMapFd || op == isa::Op::kLdMapIdx || op == isa::Op::kLdMapValue ||
         op == isa::Op::kLdMapIdxValue;
}

// The map whose address, or whose value's, an instruction loads.
const maps::Map* map_of(const vm::Program& program, uint64_t address, uint32_t& offset) {
  offset = 0;
  for (const auto& map : program.maps()) {
    if (reinterpret_cast<uintptr_t>(map.get()) == address) return map.get();
    const auto value = reinterpret_cast<uintptr_t>(map->direct_value());
    if (value == 0 || address < value || address - value >= map->spec().value_size) continue;
    offset = static_cast<uint32_t>(address - value);
    return map.get();
  }
  return nullptr;
}

}  // namespace

std::vector<isa::Encoded> dump_instructions(const ProgramObject& object, const ObjectTable& objects) {
  const vm::Program& program = *object.program;
  std::vector<isa::Encoded> out = program.spec().instructions;
  for (size_t i = 0; i < program.instructions().size(); ++i) {
    const isa::Instruction& instruction = program.instructions()[i];
    if (!refers_to_map(instruction.op)) continue;
    uint32_t offset = 0;
    const maps::Map* map = map_of(program, program.code()[i].imm, offset);
    const auto owner = map ? objects.map_object(*map) : nullptr;
    if (!owner) continue;
    const bool value = instruction.op == isa::Op::kLdMapValue || instruction.op == isa::Op::kLdMapIdxValue;
    isa::Encoded& first = out[instruction.slot];
    first.src = static_cast<uint8_t>(value ? BPF_PSEUDO_MAP_VALUE : BPF_PSEUDO_MAP_FD) & 0xf;
    first.imm = static_cast<int32_t>(owner->id);
    out[instruction.slot + 1].imm = static_cast<int32_t>(offset);
  }
  return out;
}

MachineCode dump_machine_code(const ProgramObject& object, const vm::Executable& executable) {
  const vm::Program& program = *object.program;
  MachineCode out{.bytes = executable.machine_code(), .functions = {}, .function_sizes = {}, .lines = {}};
  const auto offsets = executable.instruction_offsets();
  if (out.bytes.empty() || offsets.size() < program.code().size()) return out;
  const auto begin = reinterpret_cast<uintptr_t>(out.bytes.data());
  const auto functions = program.subprograms();
  for (size_t i = 0; i < functions.size(); ++i) {
    const uint64_t end = i + 1 < functions.size() ? offsets[functions[i + 1].begin] : out.bytes.size();
    out.functions.push_back(begin + offsets[functions[i].begin]);
    out.function_sizes.push_back(static_cast<uint32_t>(end - offsets[functions[i].begin]));
  }
  for (const bpf_line_info& line : object.lines) {
    const auto at =
        std::ranges::lower_bound(program.code(), line.insn_off, {}, &vm::LoweredInstruction::slot);
    out.lines.push_back(begin + offsets[static_cast<size_t>(at - program.code().begin())]);
  }
  return out;
}

std::vector<ProgramTag> function_tags(const ProgramObject& object) {
  const vm::Program& program = *object.program;
  const auto functions = program.subprograms();
  if (functions.size() == 1) return {object.tag};
  std::vector<ProgramTag> tags;
  for (size_t i = 0; i < functions.size(); ++i) {
    const std::span<const isa::Encoded> all = program.spec().instructions;
    const uint32_t begin = program.code()[functions[i].begin].slot;
    const uint32_t end = i + 1 < functions.size() ? program.code()[functions[i + 1].begin].slot
                                                  : static_cast<uint32_t>(all.size());
    std::vector<isa::Instruction> decoded;
    for (uint32_t n = functions[i].begin; n < functions[i].end; ++n) {
      decoded.push_back(program.instructions()[n]);
      decoded.back().slot -= begin;
    }
    tags.push_back(program_tag(all.subspan(begin, end - begin), decoded));
  }
  return tags;
}

}  // namespace skep::sys
