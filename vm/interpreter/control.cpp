#include "vm/interpreter/control.hpp"

#include "vm/helper_call.hpp"
#include "vm/interpreter/prepared.hpp"

namespace skep::vm::interpreter {
namespace {

// The packet may have moved; whatever else was allowed before the call still is.
void forget_moved(Activation& a, const Cpu& cpu, const Region& packet) {
  if (cpu.packet.begin != packet.begin || cpu.packet.size != packet.size) a.forget_windows();
}

uint64_t call(HelperFunction helper, const Activation& a, Cpu& cpu) {
  return helper(a.r[1], a.r[2], a.r[3], a.r[4], a.r[5], cpu);
}

// Tells the CPU what a helper's way in, or a callback, asks it for.
void announce_call(const Step& i, const Activation& a, Cpu& cpu) {
  cpu.frame_top = a.r[isa::kFramePointer];
  cpu.call_site = reinterpret_cast<const CallSite*>(i.imm);
  cpu.helper_number = a.r[i.dst];
}

}  // namespace

const Step* out_of_fuel(const Step* step, Activation& a, Cpu& cpu) {
  cpu.raise({.kind = FaultKind::kFuel, .slot = step->charge.slot, .program = cpu.program});
  return stop(a);
}

const Step* too_deep(const Step* step, Activation& a, Cpu& cpu) {
  cpu.raise({.kind = FaultKind::kCallDepth, .slot = step->charge.slot, .program = cpu.program});
  return stop(a);
}

const Step* call_helper(const Step* step, Activation& a, Cpu& cpu) {
  a.r[0] = call(step->helper, a, cpu);
  return go_on(step + 1, a, cpu);
}

const Step* call_helper_slowly(const Step* step, Activation& a, Cpu& cpu) {
  announce_call(*step, a, cpu);
  a.r[0] = call(step->helper, a, cpu);
  if (cpu.stopped()) return stop(a);
  return go_on(step + 1, a, cpu);
}

bool call_checked(const CallSite& site, HelperFunction helper, Activation& a, Cpu& cpu) {
  cpu.frame_top = a.r[isa::kFramePointer];
  cpu.call_site = &site;
  const Region packet = cpu.packet;
  a.r[0] = call(helper, a, cpu);
  if (cpu.stopped()) return false;
  forget_moved(a, cpu, packet);
  a.clear_arguments();
  return true;
}

const Step* call_helper_checked(const Step* step, Activation& a, Cpu& cpu) {
  cpu.helper_number = a.r[step->dst];
  if (!call_checked(*reinterpret_cast<const CallSite*>(step->imm), step->helper, a, cpu)) return stop(a);
  return go_on(step + 1, a, cpu);
}

template <Mode mode>
const Step* noted_call(const Step* step, Activation& a, Cpu& cpu) {
  cpu.note_call(a.r[isa::kFramePointer], Cpu::place_of(*cpu.program, step->charge.slot));
  return CallLocal::finish<mode>(step, a, cpu);
}
template const Step* noted_call<Mode::kVerified>(const Step* step, Activation& a, Cpu& cpu);
template const Step* noted_call<Mode::kChecked>(const Step* step, Activation& a, Cpu& cpu);

template <Mode mode>
const Step* noted_loop(const Step* step, Activation& a, Cpu& cpu) {
  cpu.note_call(a.r[isa::kFramePointer], Cpu::place_of(*cpu.program, step->charge.slot));
  return known_handlers(mode).begin_loop(step, a, cpu);
}
template const Step* noted_loop<Mode::kVerified>(const Step* step, Activation& a, Cpu& cpu);
template const Step* noted_loop<Mode::kChecked>(const Step* step, Activation& a, Cpu& cpu);

template <Mode mode>
const Step* tail_call(const Step* step, Activation& a, Cpu& cpu) {
  cpu.frame_top = a.r[isa::kFramePointer];
  const auto& site = *reinterpret_cast<const CallSite*>(step->imm);
  const Program* target = tail_call_target(cpu, site, a.r[2], a.r[3]);
  if (!target) {
    if (cpu.stopped()) return stop(a);
    a.r[0] = 0;
    if constexpr (mode == Mode::kChecked) a.clear_arguments();
    return go_on(step + 1, a, cpu);
  }
  begin_target<mode>(a, cpu);
  return go_on(first_step<mode>(*target), a, cpu);
}
template const Step* tail_call<Mode::kVerified>(const Step* step, Activation& a, Cpu& cpu);
template const Step* tail_call<Mode::kChecked>(const Step* step, Activation& a, Cpu& cpu);

bool load_from_packet(Activation& a, Cpu& cpu, uint64_t offset, unsigned bytes) {
  const int64_t value = load_packet(cpu, static_cast<int32_t>(static_cast<uint32_t>(offset)), bytes);
  a.clear_arguments();
  a.r[0] = value < 0 ? 0 : static_cast<uint64_t>(value);
  return value >= 0;
}

}  // namespace skep::vm::interpreter
