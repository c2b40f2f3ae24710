#pragma once

#include "vm/interpreter/bodies.hpp"
#include "vm/interpreter/step.hpp"

// Jumps, calls and returns: what decides where to go on. What they have to do besides is never inlined, so
// that handlers stay free of stack frames.
namespace skep::vm::interpreter {

// Ends the run; r0 means nothing then, but is the same each time.
inline const Step* stop(Activation& a) {
  a.r[0] = 0;
  return nullptr;
}

// Each raises its fault and stops.
const Step* out_of_fuel(const Step* step, Activation& a, Cpu& cpu);
const Step* too_deep(const Step* step, Activation& a, Cpu& cpu);

const Step* call_helper_checked(const Step* step, Activation& a, Cpu& cpu);
const Step* call_helper_slowly(const Step* step, Activation& a, Cpu& cpu);
const Step* call_helper(const Step* step, Activation& a, Cpu& cpu);
template <Mode mode>
const Step* tail_call(const Step* step, Activation& a, Cpu& cpu);

// A helper call in checked mode; false: the run is over.
bool call_checked(const CallSite& site, HelperFunction helper, Activation& a, Cpu& cpu);

// Another program goes on in the place of the running function. It gets the context alone.
template <Mode mode>
[[gnu::always_inline]] inline void begin_target(Activation& a, const Cpu& cpu) {
  a.frame->loops_left = kMaxLoops;
  if constexpr (mode == Mode::kChecked) {
    const uint64_t context = a.r[1];
    // What every program may touch, wherever the one before went.
    a.open_windows(cpu.packet);
    a.r[0] = 0;
    a.clear_arguments();
    a.clear_saved();
    a.r[1] = context;
  }
}

// Takes fuel; false when it is used up.
[[gnu::always_inline]] inline bool charge(const Step& i, Cpu& cpu) {
  cpu.fuel -= i.charge.cost;
  return cpu.fuel >= 0;
}

inline const Step* target(const Step* step) {
  return reinterpret_cast<const Step*>(reinterpret_cast<uintptr_t>(step) +
                                       static_cast<uintptr_t>(intptr_t{step->off}));
}

template <bool charged>
[[gnu::always_inline]] inline const Step* jump(const Step* step, Activation& a, Cpu& cpu) {
  if constexpr (charged)
    if (!charge(*step, cpu)) [[unlikely]]
      return out_of_fuel(step, a, cpu);
  return go_on(target(step), a, cpu);
}

// A function's end: back to its caller, or to C++.
struct Leave {
  template <Mode mode>
  [[gnu::always_inline]] static const Step* finish(const Step*, Activation& a, Cpu& cpu) {
    Frame* const frame = a.frame;
    if (frame == a.frames.data()) return nullptr;
    a.frame = frame - 1;
    for (unsigned n = 0; n < frame->saved.size(); ++n) a.r[6 + n] = frame->saved[n];
    a.r[isa::kFramePointer] -= kFrameSize;
    if constexpr (mode == Mode::kChecked) {
      a.clear_arguments();
      a.forget_windows();
    }
    // A tail call may have led into another program.
    if (cpu.program != frame->program) [[unlikely]]
      cpu.enter(*frame->program);
    return go_on(frame->resume, a, cpu);
  }
};

struct CallLocal {
  template <Mode mode>
  [[gnu::always_inline]] static const Step* finish(const Step* step, Activation& a, Cpu& cpu) {
    const uint64_t top = a.r[isa::kFramePointer] + kFrameSize;
    if constexpr (mode == Mode::kChecked) {
      if (!charge(*step, cpu)) [[unlikely]]
        return out_of_fuel(step, a, cpu);
      if (top > cpu.stack_end) [[unlikely]]
        return too_deep(step, a, cpu);
    }
    Frame* const frame = ++a.frame;
    frame->resume = step + 1;
    frame->program = cpu.program;
    for (unsigned n = 0; n < frame->saved.size(); ++n) frame->saved[n] = a.r[6 + n];
    frame->loops_left = kMaxLoops;
    a.r[isa::kFramePointer] = top;
    return go_on(reinterpret_cast<const Step*>(step->imm), a, cpu);
  }
};

// A call of a program that notes_calls().
template <Mode mode>
const Step* noted_call(const Step* step, Activation& a, Cpu& cpu);
// The same of a loop that is carried out in place.
template <Mode mode>
const Step* noted_loop(const Step* step, Activation& a, Cpu& cpu);

struct MayGoto {
  template <Mode mode>
  [[gnu::always_inline]] static const Step* finish(const Step* step, Activation& a, Cpu& cpu) {
    if (a.frame->loops_left == 0) return jump < mode == Mode::kChecked > (step, a, cpu);
    --a.frame->loops_left;
    return go_on(step + 1, a, cpu);
  }
};

// What there is to do depends on the site: prepare() gives each its handler.
struct CallHelper {
  template <Mode mode>
  [[gnu::always_inline]] static const Step* finish(const Step* step, Activation& a, Cpu& cpu) {
    return call_helper_slowly(step, a, cpu);
  }
};

// Refused when the program was lowered.
struct CallKfunc {
  template <Mode mode>
  static const Step* finish(const Step*, Activation& a, Cpu&) {
    return stop(a);
  }
};

// False: outside the packet; the function ends with r0 = 0.
bool load_from_packet(Activation& a, Cpu& cpu, uint64_t offset, unsigned bytes);

template <isa::PacketMode packet_mode, unsigned width>
struct Packet {
  template <Mode mode>
  static const Step* finish(const Step* step, Activation& a, Cpu& cpu) {
    const uint64_t offset = step->imm + (packet_mode == isa::PacketMode::kInd ? a.r[step->src] : 0);
    if (!load_from_packet(a, cpu, offset, width / 8)) return Leave::finish<mode>(step, a, cpu);
    return go_on(step + 1, a, cpu);
  }
};

}  // namespace skep::vm::interpreter
