#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
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

// Loads one program of an object into a machine of its own, to be run on its only CPU. Throws
// std::runtime_error: a benchmark can do nothing about it.
Runner load(const std::string& object, const std::string& program, const Execution& execution);
Runner load(const std::string& object, const std::string& program, const MachineOptions& options);
Program load_program(const std::string& object, const std::string& program, const MachineOptions& options);

// Runs it once over the memory and returns its r0. Throws for a fault.
inline uint64_t run(Runner& runner, std::span<std::byte> memory) {
  const RunOutcome outcome = runner.run_in_place(memory);
  if (outcome.faulted) throw std::runtime_error(runner.fault()->message);
  return outcome.return_value;
}

// The program's instructions, its functions put together by libbpf.
std::vector<isa::Encoded> instructions_of(const std::string& object, const std::string& program);

}  // namespace skep::bench
