#pragma once

#include <cstdint>

#include "vm/lowering.hpp"

namespace skep::vm {

// What an operation does to the registers. r10, which no operation writes, is among what is read where it is
// an operand.
struct RegisterUse {
  RegisterSet reads = 0;
  RegisterSet writes = 0;
};

// What register_use() and the questions below are answered from.
namespace traits {

enum Trait : uint16_t {
  kReadsDst = 1,
  kReadsSrc = 2,
  kReadsIndex = 4,
  kReadsScale = 8,  // a select's value
  kWritesDst = 16,
  kWritesSrc = 32,
  kReadsR0 = 64,
  kWritesR0 = 128,
  kPure = 256,
  kConditional = 512,
  kReadsArguments = 1024,
  kReadsOff = 2048,           // the registers that off, as a set, says
  kClobbersArguments = 4096,  // r1 to r5, and r0 gets the result
  kEndsFlow = 8192,
  kJumps = 16384,
};

// By operation.
extern const uint16_t kOfOperations[];

inline unsigned of(Operation op) { return kOfOperations[static_cast<size_t>(op)]; }

}  // namespace traits

inline RegisterUse register_use(const LoweredInstruction& i) {
  using namespace traits;
  const unsigned t = of(i.op);
  // The register, as a set, if the operation has the trait; without a branch, since every pass asks this.
  const auto when = [t](unsigned trait, unsigned reg) {
    return ((t / trait) & 1U) << (reg & 15U);  // traits are powers of two; not every scale is a register
  };
  unsigned reads = when(kReadsDst, i.dst) | when(kReadsSrc, i.src) | when(kReadsIndex, i.index) |
                   when(kReadsScale, i.scale);
  unsigned writes = when(kWritesDst, i.dst) | when(kWritesSrc, i.src);
  constexpr unsigned kRare = kReadsR0 | kWritesR0 | kReadsArguments | kReadsOff | kClobbersArguments;
  if ((t & kRare) != 0) {
    constexpr unsigned kArguments = 0x3e;
    reads |= when(kReadsR0, 0);
    writes |= when(kWritesR0, 0);
    if ((t & kReadsArguments) != 0) reads |= kArguments;
    if ((t & kReadsOff) != 0) reads |= static_cast<RegisterSet>(i.off);
    if ((t & kClobbersArguments) != 0) writes |= kArguments | register_set(0);
  }
  constexpr unsigned kAllRegisters = 0x7ff;  // the register that reads as 0 is nobody's
  return {static_cast<RegisterSet>(reads & kAllRegisters), static_cast<RegisterSet>(writes)};
}

// Does nothing but write dst: without readers of that it may go.
inline bool is_pure(Operation op) { return (traits::of(op) & traits::kPure) != 0; }
// May lead elsewhere than to the next operation, and comes back to it at most.
inline bool is_conditional_jump(Operation op) { return (traits::of(op) & traits::kConditional) != 0; }
// Never goes on with the next operation.
inline bool ends_flow(Operation op) { return (traits::of(op) & traits::kEndsFlow) != 0; }
// Has a target within its function.
inline bool is_jump(Operation op) { return (traits::of(op) & traits::kJumps) != 0; }

}  // namespace skep::vm
