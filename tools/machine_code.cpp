#include "tools/machine_code.hpp"

#include <capstone/capstone.h>
#include <fmt/format.h>

namespace skep::tools {

std::vector<std::string> disassemble_machine_code(std::span<const std::byte> code) {
  csh handle = 0;
  if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) return {};
  cs_insn* instructions = nullptr;
  const size_t count =
      cs_disasm(handle, reinterpret_cast<const uint8_t*>(code.data()), code.size(), 0, 0, &instructions);
  std::vector<std::string> out;
  for (size_t i = 0; i < count; ++i)
    out.push_back(fmt::format("{} {}", instructions[i].mnemonic, instructions[i].op_str));
  cs_free(instructions, count);
  cs_close(&handle);
  return out;
}

}  // namespace skep::tools
