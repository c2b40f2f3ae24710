#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "vm/program.hpp"

namespace skep::vm {

class Cpu;

using Arguments = std::array<uint64_t, 5>;

// The short way into a program's first function, at the beginning of a run: r1 and r2 in, r0 out. The CPU has
// been made ready (its RunState) and a fault is left in it.
using EntryFunction = uint64_t (*)(uint64_t r1, uint64_t r2, Cpu& cpu);

// A program made ready to run by an engine. Thread-safe: many CPUs may run it at once.
class Executable {
 public:
  virtual ~Executable() = default;
  // Runs a function of the program on a CPU: r1 to r5 in, r0 out. A fault is left in the CPU (Cpu::fault()).
  // Called at the start of a run and, with deeper frames, for callbacks.
  virtual uint64_t call(Cpu& cpu, const Subprogram& function, const Arguments& arguments) const = 0;
  // The same for the first function with r3 to r5 zero, where the engine has a function for it; else nullptr.
  // Not for callbacks: it does not nest in a run.
  virtual EntryFunction entry() const { return nullptr; }
  // Where the same engine enters the first function by a tail call.
  virtual const void* tail_entry() const { return nullptr; }
  // The machine code, where there is any, and where each lowered instruction's begins in it.
  virtual std::span<const uint8_t> machine_code() const { return {}; }
  virtual std::span<const uint32_t> instruction_offsets() const { return {}; }
};

// Makes programs ready to run. Thread-safe.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::unique_ptr<Executable> prepare(const Program& program, Mode mode) const = 0;
};

// A machine's engines.
class Engines {
 public:
  Engines(std::unique_ptr<Engine> interpreter, std::unique_ptr<Engine> jit)
      : engines_{std::move(interpreter), std::move(jit)} {}
  const Engine& get(EngineKind kind) const { return *engines_[static_cast<size_t>(kind)]; }

 private:
  std::array<std::unique_ptr<Engine>, 2> engines_;
};

}  // namespace skep::vm
