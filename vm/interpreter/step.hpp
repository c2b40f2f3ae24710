#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "vm/cpu.hpp"
#include "vm/lowering.hpp"

// What the interpreter executes: an operation with the function that carries it out.
namespace skep::vm::interpreter {

struct Step;
struct Activation;

// Executes a step, and then what follows it. Returns the step to go on at, or nullptr: the function that was
// entered from C++ is done, or the run is over.
using Handler = const Step* (*)(const Step* step, Activation& activation, Cpu& cpu);

struct Charge {
  uint32_t cost;  // as LoweredInstruction's
  uint32_t slot;
};

// A LoweredInstruction as its handler wants it.
struct Step {
  Handler handler;
  uint64_t imm;  // of local calls: the address of the function's first step
  int32_t off;   // of jumps: the distance to where they lead, in bytes
  uint8_t dst;
  uint8_t src;
  uint8_t index;
  uint8_t scale;
  union {
    Charge charge;
    HelperFunction helper;  // of helper calls
  };
};
static_assert(sizeof(Step) == 32);

// Bytes [begin, begin + count) are where an access of some width may begin.
struct Window {
  uint64_t begin;
  uint64_t count;
};

// The windows of the accesses of one direction, by the logarithm of their width.
using Windows = std::array<Window, 4>;
constexpr size_t width_index(unsigned bytes) { return static_cast<size_t>(std::countr_zero(bytes)); }

// A function that runs.
struct Frame {
  const Step* resume;             // where its caller goes on
  const Program* program;         // the caller's
  std::array<uint64_t, 4> saved;  // the caller's r6 to r9
  uint64_t loops_left;            // of its own may_goto
  // Of a callback of bpf_loop that is known:
  uint64_t loop_context;
  uint32_t turns;  // that were made
  uint32_t turns_wanted;
};

// The functions that run since the interpreter was entered from C++. Left uninitialised: begin() writes what
// has to have a value.
struct Activation {
  std::array<uint64_t, kOperandRegisters> r;  // kZeroRegister is 0
  Frame* frame;                               // of the running function
  // In checked mode: where the last accesses hit, so that the next ones need not search.
  std::array<Windows, 2> windows;  // reads, writes
  std::array<Frame, kMaxFrames> frames;

  template <Mode mode>
  void begin(uint64_t frame_top) {
    // A loop would become a string instruction, which takes longer to begin than an empty program to run.
#pragma GCC unroll 12
    for (uint64_t& value : r) value = 0;
    r[isa::kFramePointer] = frame_top;
    frame = frames.data();
    frame->loops_left = kMaxLoops;
    if constexpr (mode == Mode::kChecked) forget_windows();
  }
  void forget_windows() {
#pragma GCC unroll 2
    for (Windows& direction : windows)
      for (Window& window : direction) window.count = 0;
  }
  // Makes a region what all kinds of access hit.
  void open_windows(const Region& region) {
    const Windows opened{window_of(region, 1), window_of(region, 2), window_of(region, 4),
                         window_of(region, 8)};
    windows = {opened, opened};
  }
  static Window window_of(const Region& region, uint64_t bytes) {
    return {region.begin, region.size < bytes ? 0 : region.size - bytes + 1};
  }
  // r1 to r5 are scratch across a call: in checked mode, where programs may read them, a fixed value keeps
  // runs reproducible.
  void clear_arguments() {
    for (unsigned n = 1; n <= 5; ++n) r[n] = 0;
  }
  // What a function must not see of its caller's in checked mode.
  void clear_saved() {
    for (unsigned n = 6; n <= 9; ++n) r[n] = 0;
  }
};

// Handlers go on by calling the next one as the last thing they do, which an optimising compiler makes a
// jump. Computed goto is as fast, but wants all handlers in one function, where templates cannot make
// super-steps. Where the build does not promise such jumps (SKEP_TAIL_CALLS), handlers return to a loop.
[[gnu::always_inline]] inline const Step* go_on(const Step* step, [[maybe_unused]] Activation& activation,
                                                [[maybe_unused]] Cpu& cpu) {
#ifdef SKEP_TAIL_CALLS
  // Keeps the compiler from holding on to the former step: two instructions fewer in nearly every handler.
  asm("" : "+r"(step));
  return step->handler(step, activation, cpu);
#else
  return step;
#endif
}

inline void execute(const Step* step, Activation& activation, Cpu& cpu) {
  while (step) step = step->handler(step, activation, cpu);
}

}  // namespace skep::vm::interpreter
