#pragma once

#include <array>
#include <cstdint>

#include "vm/cpu.hpp"

// The C++ functions that generated code calls. No exception may leave them: there is nothing to unwind
// generated code by.
namespace skep::jit {

void raise_fault(vm::Cpu& cpu, const vm::Program& program, uint32_t slot, vm::FaultKind kind,
                 uint64_t address, uint64_t size) noexcept;

// A region in a function's frame (AccessChecks): bytes from `begin` on. An access of 1 << n bytes is inside
// where its address less `begin` is below limits[n].
struct KeptRegion {
  uint64_t begin = 0;
  std::array<uint64_t, 4> limits{};
};

// The size and the direction of an access in one number.
inline constexpr uint32_t kBytesOfKind = 15;
inline constexpr uint32_t kWriteOfKind = 16;
constexpr uint32_t access_kind(unsigned bytes, bool write) { return bytes | (write ? kWriteOfKind : 0); }

// An access of the running program's. False: not allowed, and the fault is raised. Puts the region that holds
// it into `keep`, if there is one to keep; `keep` may be nullptr.
bool hold_access(vm::Cpu& cpu, uint32_t slot, uint64_t address, uint32_t kind, KeptRegion* keep) noexcept;

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
