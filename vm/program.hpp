#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "isa/instruction.hpp"
#include "maps/map.hpp"
#include "skep/error.hpp"
#include "vm/fault.hpp"
#include "vm/helper.hpp"
#include "vm/lowering.hpp"
#include "vm/pass.hpp"
#include "vm/program_type.hpp"

namespace skep::vm {

class Engines;
class Executable;
class Program;

// Which engine executes, and whether it holds every access against the regions the program may touch.
enum class EngineKind : uint8_t { kInterpreter, kJit };
enum class Mode : uint8_t { kVerified, kChecked };

// What a program needs of the machine it is loaded into; all of it outlives the program.
struct ProgramEnvironment {
  const HelperTable& helpers;
  const Engines& engines;
  uint32_t id = 0;
  PassSet passes = PassSet::all();
};

// What the engines read of a program that is tail-called.
struct TailTarget {
  // By mode: where its first function is entered, in the JIT's code and as the interpreter's steps; nullptr
  // while there are none. Written with release, to be read with acquire: whoever sees the address sees the
  // code.
  std::array<std::atomic<const void*>, 2> code{};
  std::array<std::atomic<const void*>, 2> steps{};
  uint64_t cost = 0;  // the fuel of calling it
  const Program* program = nullptr;
};
static_assert(std::is_standard_layout_v<TailTarget>);

// A program admitted for execution: immutable, shareable between threads. Its engines' code is made on first
// use.
class Program final : public maps::Object, public std::enable_shared_from_this<Program> {
 public:
  // Fails as lower() does.
  static Result<std::shared_ptr<Program>> create(ProgramSpec spec, const ProgramEnvironment& environment,
                                                 const MapResolver& resolve_map);
  ~Program() override;

  uint32_t id() const override { return id_; }
  const void* run_data() const override { return &tail_target_; }  // a TailTarget
  const ProgramSpec& spec() const { return spec_; }
  const ProgramType& type() const { return *spec_.type; }
  std::span<const isa::Instruction> instructions() const { return lowered_.decoded; }
  // The instructions with their references resolved: as many as instructions(), index for index.
  std::span<const LoweredInstruction> code() const { return lowered_.code; }
  // What the engines execute in a mode: code() after the passes, function after function as subprograms().
  // Made on first use. Thread-safe; the result lives as the program.
  const Code& optimized(Mode mode) const;
  std::span<const Subprogram> subprograms() const { return lowered_.subprograms; }
  std::span<const std::shared_ptr<maps::Map>> maps() const { return lowered_.maps; }
  // Bytes of the stack, from its beginning, that a run of this program may write, itself or by helpers; not
  // what callbacks and tail calls' targets add.
  uint64_t stack_reach() const { return stack_reach_; }
  bool functions_tail_call() const { return lowered_.functions_tail_call; }
  // Whether the engines note where it calls its functions (Cpu::note_call): it walks the stack, or a program
  // that goes on in the place of one of its functions may.
  bool notes_calls() const { return lowered_.walks_stack || lowered_.functions_tail_call; }
  // BPF_PROG_BIND_MAP: keeps a map alive with the program; the running program may not touch it by that.
  void bind_map(std::shared_ptr<maps::Map> map);
  std::vector<std::shared_ptr<maps::Map>> bound_maps() const;

  // The line an instruction comes from, or nullptr.
  const SourceLine* line_at(uint32_t slot) const;
  // The map whose element value holds the address, with that value's bounds; nullptr: none of the program's.
  const maps::Map* map_containing(uintptr_t address, maps::MemoryRange& range) const;
  bool is_map(uint64_t address) const;
  // The function a callback pointer stands for, or nullptr.
  const Subprogram* function_at(uint64_t address) const;

  // The program's code for an engine, made on first use. Thread-safe; the result lives as the program.
  const Executable& executable(EngineKind kind, Mode mode) const {
    const size_t index = executable_index(kind, mode);
    // Acquire pairs with the release in prepare(): whoever sees the pointer sees the finished code.
    const Executable* ready = ready_[index].load(std::memory_order_acquire);
    return ready ? *ready : prepare(kind, mode);
  }

 private:
  static size_t executable_index(EngineKind kind, Mode mode) {
    return static_cast<size_t>(kind) * 2 + static_cast<size_t>(mode);
  }
  const Executable& prepare(EngineKind kind, Mode mode) const;
  Program(ProgramSpec spec, const ProgramEnvironment& environment);

  ProgramSpec spec_;
  const Engines& engines_;
  uint32_t id_;
  Lowered lowered_;
  uint64_t stack_reach_ = 0;
  PassSet passes_;
  mutable TailTarget tail_target_;
  mutable std::mutex mutex_;
  mutable std::mutex optimizing_;  // locked inside mutex_
  std::vector<std::shared_ptr<maps::Map>> bound_maps_;
  mutable std::array<std::atomic<const Code*>, 2> optimized_{};
  mutable std::array<Code, 2> code_by_mode_;
  mutable std::array<std::atomic<const Executable*>, 4> ready_{};
  mutable std::array<std::unique_ptr<Executable>, 4> executables_;
};

}  // namespace skep::vm
