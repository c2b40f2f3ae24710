#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vm/program.hpp"

namespace skep::jit {

struct CodeLayout;

// A name for a piece of a program's machine code.
struct CodeSymbol {
  uint32_t offset;
  uint32_t size;
  std::string name;  // letters, digits, '_' and '.' alone, whatever the program calls itself
};

// "bpf_prog_PROGRAM_FUNCTION" for each function, and for what is behind the functions
// "bpf_prog_PROGRAM.checks" and "bpf_prog_PROGRAM.entry". A program without a name has its id.
std::vector<CodeSymbol> code_symbols(const vm::Program& program, const CodeLayout& layout);

}  // namespace skep::jit
