#pragma once

#include <cstdint>
#include <vector>

#include "isa/instruction.hpp"

namespace skep::jit {

// What random programs are made of.
struct RandomProgramOptions {
  unsigned length = 40;         // about as many instructions a function
  unsigned functions = 3;       // at most, with the entry
  uint32_t memory_size = 64;    // of the raw memory it is run over
  int32_t plain_helper = 0;     // takes anything; 0: none
  int32_t callback_helper = 0;  // takes a function and an argument for it; 0: none
  int32_t loop_helper = 0;      // bpf_loop; 0: none
  int32_t lookup_helper = 0;    // map_lookup_elem, of the map that map_by_fd(0) names; 0: none
  bool initialised = false;     // reads no register that a verifier would not let it read
};

// A program that loads and is worth running: arithmetic, jumps forward and back (fuel ends what does not end
// by itself), loads, stores and atomics that mostly hit the stack or the raw memory, calls. The same seed and
// options give the same program. Before it exits, the entry stores r0 to r9 at r10 - 8, r10 - 16, …
std::vector<isa::Instruction> random_program(uint64_t seed, const RandomProgramOptions& options);

}  // namespace skep::jit
