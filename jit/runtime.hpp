#pragma once

#include <cstdint>

#include "vm/cpu.hpp"

// The C++ functions that generated code calls. No exception may leave them: there is nothing to unwind
// generated code by.
namespace skep::jit {

void raise_fault(vm::Cpu& cpu, const vm::Program& program, uint32_t slot, vm::FaultKind kind,
                 uint64_t address, uint64_t size) noexcept;

bool check_access(vm::Cpu& cpu, const vm::Program& program, uint32_t slot, uint64_t address, uint64_t size,
                  bool write) noexcept;

// Returned in rax and rdx.
struct TailCall {
  const void* entry;  // nullptr: no tail call
  uint64_t context;
};
// The arguments stand where the program has put its own.
TailCall tail_call(uint64_t context, uint64_t map, uint64_t index, vm::Cpu& cpu,
                   const vm::CallSite& site) noexcept;

// Where the first function of a program is entered that has not been translated yet.
const void* prepare_target(vm::Cpu& cpu, const vm::TailTarget& target) noexcept;

}  // namespace skep::jit
