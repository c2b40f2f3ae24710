#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace skep::tools {

// x86-64 machine code as Intel-syntax text, a line per instruction, through Capstone.
std::vector<std::string> disassemble_machine_code(std::span<const std::byte> code);

}  // namespace skep::tools
