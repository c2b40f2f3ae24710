#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "jit/code_symbols.hpp"

// GDB's interface for generated code, with the names and the layout that its manual ("JIT Compilation
// Interface") prescribes: the debugger reads the list when it attaches, and has a breakpoint in the function.
// Weak, because another JIT of the process may define them too, and they are the process's, not its.
extern "C" {

struct jit_code_entry {
  jit_code_entry* next_entry;
  jit_code_entry* prev_entry;
  const char* symfile_addr;
  uint64_t symfile_size;
};

struct jit_descriptor {
  uint32_t version;
  uint32_t action_flag;
  jit_code_entry* relevant_entry;
  jit_code_entry* first_entry;
};

// The debugger looks for these names.
extern jit_descriptor __jit_debug_descriptor;
void __jit_debug_register_code();
}

namespace skep::jit {

// An ELF object in memory that names a program's machine code, registered with debuggers for as long as it
// lives. The code outlives it. Making and destroying them is thread-safe, among them: another JIT that
// shares the list has a lock of its own.
class GdbObject {
 public:
  GdbObject(std::span<const uint8_t> code, std::span<const CodeSymbol> symbols);
  GdbObject(const GdbObject&) = delete;
  GdbObject& operator=(const GdbObject&) = delete;
  ~GdbObject();

 private:
  std::vector<char> image_;
  jit_code_entry entry_{};
};

}  // namespace skep::jit
