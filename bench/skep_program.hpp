#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "isa/instruction.hpp"
#include "skep/machine.hpp"

namespace skep::bench {

// An engine in a mode; the order and the names of the tables' columns.
struct Execution {
  const char* name;
  Engine engine;
  Mode mode;
};
inline constexpr Execution kExecutions[] = {
    {"interp-verified", Engine::kInterpreter, Mode::kVerified},
    {"interp-checked", Engine::kInterpreter, Mode::kChecked},
    {"jit-verified", Engine::kJit, Mode::kVerified},
    {"jit-checked", Engine::kJit, Mode::kChecked},
};

// Loads one program of an object into a machine of its own. Throws std::runtime_error: a benchmark can do
// nothing about it.
Program load(const std::string& object, const std::string& program, const Execution& execution);

// Runs it once over the memory and returns its r0. Throws for a fault.
uint64_t run(const Program& program, std::span<std::byte> memory);

// The program's instructions, its functions put together by libbpf.
std::vector<isa::Encoded> instructions_of(const std::string& object, const std::string& program);

}  // namespace skep::bench
