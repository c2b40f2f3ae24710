#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "jit/access_plan.hpp"
#include "vm/program.hpp"

namespace skep::jit {

// Sets of BPF registers: bit n is rn.
using RegisterSet = uint32_t;

inline constexpr RegisterSet kArguments = 0b0000'0011'1110;    // r1 to r5
inline constexpr RegisterSet kCalleeSaved = 0b0011'1100'0000;  // r6 to r9

constexpr RegisterSet register_bit(unsigned reg) { return 1u << reg; }

// A call of a function of the program.
struct LocalCall {
  uint32_t callee;
  RegisterSet live_after;
};

// The words of a function's native frame that its loops have, and its walks through maps.
inline constexpr unsigned kLoopWords = 2;
inline constexpr unsigned kWalkWords = kLoopWords + sizeof(maps::WalkPosition) / sizeof(uint64_t);

// What has to be known of a function before it is translated. "It" is the function with all that it calls.
struct FunctionFacts {
  RegisterSet names = 0;     // registers it may read or write
  RegisterSet clobbers = 0;  // of r6 to r9, those it may change
  bool has_frame = false;    // its r10 matters
  bool calls_cpp = false;    // so the native stack has to be aligned
  bool uses_cpu = false;
  bool tail_calls = false;
  bool moves_packet = false;
  unsigned loop_words = 0;  // of the frame, for loops of its own that call a function: kept off what it calls
  bool fresh_registers = false;     // is called by such a loop: begins with registers of 0 in checked mode
  std::vector<LocalCall> calls;     // its own
  std::vector<RegionCache> caches;  // its own; checked mode's
};

struct Analysis {
  std::vector<FunctionFacts> functions;  // index for index with the program's
  // By instruction: where jumps lead to.
  enum Target : uint8_t { kNone = 0, kForward = 1, kBackward = 2 };
  std::vector<uint8_t> targets;
  std::vector<AccessSite> accesses;  // by instruction; checked mode's

  bool is_target(uint32_t index) const { return targets[index] != kNone; }
  bool is_loop_head(uint32_t index) const { return (targets[index] & kBackward) != 0; }
};

// The memory for a value of the map is found by generated code alone.
std::optional<maps::ArrayLayout> inlined_layout(const maps::Map& map);

Analysis analyse(const vm::Program& program, vm::Mode mode);

}  // namespace skep::jit
