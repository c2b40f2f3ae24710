#pragma once

#include <cstdint>
#include <string>

namespace skep::vm {

class Program;

enum class FaultKind : uint8_t {
  kNone,
  kMemory,      // an access outside everything the program may touch
  kMisaligned,  // an atomic operation on an address that is not a multiple of its size
  kFuel,        // the run used up its fuel
  kCallDepth,   // more than kMaxFrames nested calls
  kLock,        // a lock of a value that is taken or held against the rules
  kBadCall,  // a call by register of no known helper, a callback that is no function, a helper's bad argument
  kLeak,     // the run ended with a ring-buffer record neither submitted nor discarded
};

// Why a run ended early: a value, not an error of skep's own.
struct Fault {
  FaultKind kind = FaultKind::kNone;
  bool write = false;
  uint32_t slot = 0;                 // where in the program, counted in 8-byte slots as the kernel counts
  const Program* program = nullptr;  // the program that slot belongs to; tail calls change it
  uint64_t address = 0;              // of the access; of a bad call the offending value
  uint64_t size = 0;                 // of the access, in bytes
  const char* helper = nullptr;      // the helper whose argument is at fault, or nullptr
  uint8_t argument = 0;              // which of its arguments, from 1; 0: not known
  const char* reason = nullptr;      // of a lock fault
};

const char* fault_kind_name(FaultKind kind);
// One line: kind, pc, source line where known, address and size.
std::string describe(const Fault& fault);

}  // namespace skep::vm
