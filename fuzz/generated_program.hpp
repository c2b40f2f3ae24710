#pragma once

#include <cstdint>
#include <vector>

#include "fuzz/choices.hpp"
#include "isa/instruction.hpp"

namespace skep::fuzz {

// The maps that generated programs name, as map_by_fd(N); -1: none. Keys and values are of 4 and 8 bytes.
struct GeneratedMaps {
  int32_t array = -1;
  int32_t percpu_array = -1;
  int32_t hash = -1;
  int32_t programs = -1;
};

// What generated programs are made of.
struct GeneratorOptions {
  unsigned length = 40;         // about as many steps a function
  unsigned functions = 3;       // at most, with the entry
  uint32_t memory_size = 64;    // of the raw memory it is run over
  int32_t plain_helper = 0;     // takes anything; 0: none
  int32_t callback_helper = 0;  // takes a function and an argument for it; 0: none
  bool kernel_helpers = false;  // bpf_loop, the processor's number, and those of the maps there are
  GeneratedMaps maps = {};
  bool initialised = false;  // reads no register that a verifier would not let it read
};

// A program that loads and is worth running: arithmetic, jumps forward and back (fuel ends what does not end
// by itself), loads, stores and atomics that mostly hit the stack or the raw memory, calls, and the shapes
// that compilers make and passes look for. The same choices and options give the same program. Before it
// exits, the entry stores r0 to r9 at r10 - 8, r10 - 16, …
std::vector<isa::Instruction> generated_program(Choices& choices, const GeneratorOptions& options);
inline std::vector<isa::Instruction> generated_program(uint64_t seed, const GeneratorOptions& options) {
  RandomChoices choices(seed);
  return generated_program(choices, options);
}

}  // namespace skep::fuzz
