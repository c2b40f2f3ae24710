#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "vm/engine.hpp"

namespace skep::jit {

struct JitOptions {
  bool use_bmi2 = true;   // where the host has it
  bool use_movbe = true;  // where the host has it
  bool use_memory_file =
      true;  // for code, where the host allows it; else each program's has pages of its own
  unsigned loop_alignment = 0;  // of loop heads, in bytes, a power of two; 0: none
  // These four: include/skep/machine.hpp says what they do.
  bool blind_constants = false;
  bool retpolines = false;
  bool perf_map = false;
  bool gdb_objects = false;
  // Fixes what blinding makes of constants; without it, the host's random numbers.
  std::optional<uint64_t> seed = std::nullopt;
  // Gets what the JIT can go on without, such as a perf map that cannot be written. From any thread.
  std::function<void(const std::string&)> warn = {};
};

// The x86-64 JIT: translates the lowered instructions to machine code, one program at a time. Does to
// registers, memory and fuel what the interpreter does, and faults where it faults. Code is never writable
// and executable at once.
std::unique_ptr<vm::Engine> make_jit(const JitOptions& options = {});

}  // namespace skep::jit
