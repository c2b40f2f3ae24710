#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "jit/code_pool.hpp"
#include "jit/gdb_object.hpp"
#include "jit/perf_map.hpp"
#include "jit/shared_code.hpp"
#include "vm/cpu.hpp"
#include "vm/engine.hpp"

namespace skep::jit {

// How to translate.
struct Translating {
  bool bmi2 = false;
  bool movbe = false;
  unsigned loop_alignment = 0;  // of loop heads, in bytes; 0: none
  bool blinding = false;        // of the program's constants
  bool retpolines = false;
  bool gdb_objects = false;
  PerfMap* perf_map = nullptr;  // nullptr: none is written
  uint64_t seed = 0;            // for blinding
};

// Offsets into a program's machine code.
struct CodeLayout {
  uint32_t text_size = 0;  // without the table of far addresses behind it
  uint32_t end_of_functions = 0;
  uint32_t entry = 0;  // a vm::EntryFunction, behind the functions
  std::vector<uint32_t> functions;
  std::vector<uint32_t> instructions;  // index for index with vm::Program::instructions()
};

// A program's machine code.
class NativeProgram final : public vm::Executable {
 public:
  NativeProgram(CodeLayout layout, CodePool::Block code, Trampoline trampoline)
      : layout_(std::move(layout)), code_(std::move(code)), trampoline_(trampoline) {}

  // Tells debuggers of the code, for as long as it lives.
  void show_to_gdb(std::span<const CodeSymbol> symbols) { gdb_object_.emplace(machine_code(), symbols); }

  uint64_t call(vm::Cpu& cpu, const vm::Subprogram& function, const vm::Arguments& arguments) const override;
  vm::EntryFunction entry() const override;
  const void* tail_entry() const override { return function(0); }
  std::span<const uint8_t> machine_code() const override { return code_.bytes().first(layout_.text_size); }
  std::span<const uint32_t> instruction_offsets() const override { return layout_.instructions; }

  // Where a function is entered from other generated code.
  const void* function(uint32_t function) const { return code_.bytes().data() + layout_.functions[function]; }

 private:
  CodeLayout layout_;
  CodePool::Block code_;
  Trampoline trampoline_;
  std::optional<GdbObject> gdb_object_;
};

std::unique_ptr<NativeProgram> translate(const vm::Program& program, vm::Mode mode,
                                         const Translating& options, CodePool& pool,
                                         const SharedCode& shared);

}  // namespace skep::jit
