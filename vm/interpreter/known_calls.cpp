#include "vm/interpreter/known_calls.hpp"

#include <atomic>
#include <cerrno>

#include "vm/interpreter/control.hpp"
#include "vm/interpreter/prepared.hpp"

namespace skep::vm::interpreter {
namespace {

// Behind a call that has returned.
template <Mode mode>
const Step* returned(const Step* next, Activation& a, Cpu& cpu, uint64_t r0) {
  a.r[0] = r0;
  if constexpr (mode == Mode::kChecked) a.clear_arguments();
  return go_on(next, a, cpu);
}

// Programs keep keys on the stack; others are for the ordinary way to check.
bool key_on_stack(const Lookup& lookup, const Activation& a, const Cpu& cpu) {
  const Region stack{cpu.stack_begin, a.r[isa::kFramePointer] - cpu.stack_begin};
  return stack.contains(a.r[2], lookup.key_size);
}

[[gnu::noinline]] const Step* look_up_ordinarily(const Step* step, Activation& a, Cpu& cpu) {
  const auto& lookup = *reinterpret_cast<const Lookup*>(step->imm);
  if (!call_checked(*lookup.site, step->helper, a, cpu)) return stop(a);
  return go_on(step + 1, a, cpu);
}

// The value may be touched: spares the search for it.
void note_value(const Lookup& lookup, uint64_t value, Cpu& cpu) {
  cpu.last_read = {value, lookup.value_size};
  if (lookup.writable) cpu.last_write = {value, lookup.value_size};
}

template <Mode mode>
const Step* found(const Step* step, Activation& a, Cpu& cpu, uint64_t value) {
  if constexpr (mode == Mode::kChecked)
    if (value != 0) note_value(*reinterpret_cast<const Lookup*>(step->imm), value, cpu);
  return returned<mode>(step + 1, a, cpu, value);
}

// The callback gets its arguments alone; its frame has been written.
template <Mode mode>
const Step* take_turn(const Step* loop, Activation& a, Cpu& cpu, Frame* frame) {
  const uint64_t top = a.r[isa::kFramePointer] + kFrameSize;
  a.frame = frame;
  frame->loops_left = kMaxLoops;
  a.r[isa::kFramePointer] = top;
  if constexpr (mode == Mode::kChecked) {
    a.clear_arguments();
    a.clear_saved();
    // A callback mostly gets a pointer to its caller's stack.
    a.open_windows({cpu.stack_begin, top - cpu.stack_begin});
    a.r[0] = 0;
  }
  a.r[1] = frame->turns;
  a.r[2] = frame->loop_context;
  return go_on(reinterpret_cast<const Step*>(loop->imm), a, cpu);
}

// Apart from the handler, which has no stack frame.
template <Mode mode>
[[gnu::noinline]] const Step* prepare_target(const Step*, Activation& a, Cpu& cpu) {
  return go_on(first_step<mode>(*cpu.program), a, cpu);
}

template <Mode mode>
const Step* processor_id(const Step* step, Activation& a, Cpu& cpu) {
  return returned<mode>(step + 1, a, cpu, cpu.cpu);
}

template <Mode mode>
const Step* lookup_in_array(const Step* step, Activation& a, Cpu& cpu) {
  const auto& lookup = *reinterpret_cast<const Lookup*>(step->imm);
  if constexpr (mode == Mode::kChecked)
    if (!key_on_stack(lookup, a, cpu)) [[unlikely]]
      return look_up_ordinarily(step, a, cpu);
  const auto index = load<uint32_t>(a.r[2]);
  if (index >= lookup.entries) return returned<mode>(step + 1, a, cpu, 0);
  const maps::ArrayLayout& layout = lookup.layout;
  const uint64_t at = index * layout.element_size + cpu.cpu * layout.cpu_stride;
  return found<mode>(step, a, cpu, reinterpret_cast<uintptr_t>(layout.elements) + at);
}

template <Mode mode>
const Step* lookup_by_function(const Step* step, Activation& a, Cpu& cpu) {
  const auto& lookup = *reinterpret_cast<const Lookup*>(step->imm);
  if constexpr (mode == Mode::kChecked)
    if (!key_on_stack(lookup, a, cpu)) [[unlikely]]
      return look_up_ordinarily(step, a, cpu);
  const void* value = lookup.function(*lookup.map, reinterpret_cast<const void*>(a.r[2]), cpu.cpu);
  return found<mode>(step, a, cpu, reinterpret_cast<uintptr_t>(value));
}

template <Mode mode>
const Step* begin_loop(const Step* step, Activation& a, Cpu& cpu) {
  const auto* loop = reinterpret_cast<const Step*>(step->imm);
  const auto turns = static_cast<uint32_t>(a.r[1]);
  if (a.r[4] != 0) return returned<mode>(step + 1, a, cpu, static_cast<uint64_t>(-EINVAL));
  if (turns > kMaxLoops) return returned<mode>(step + 1, a, cpu, static_cast<uint64_t>(-E2BIG));
  if (turns == 0) return returned<mode>(step + 1, a, cpu, 0);
  if (!charge(*loop, cpu)) [[unlikely]]
    return out_of_fuel(loop, a, cpu);
  if (a.r[isa::kFramePointer] + kFrameSize > cpu.stack_end) [[unlikely]]
    return too_deep(loop, a, cpu);
  cpu.expect_whole_stack_written();
  Frame* const frame = a.frame + 1;
  frame->resume = loop;
  frame->program = cpu.program;
  for (unsigned n = 0; n < frame->saved.size(); ++n) frame->saved[n] = a.r[6 + n];
  frame->loop_context = a.r[3];
  frame->turns = 0;
  frame->turns_wanted = turns;
  return take_turn<mode>(loop, a, cpu, frame);
}

// What the callback has left is its frame as it was: nothing has run since.
template <Mode mode>
const Step* next_turn(const Step* loop, Activation& a, Cpu& cpu) {
  Frame* const frame = a.frame + 1;
  const uint32_t turns = ++frame->turns;
  if (a.r[0] != 0 || turns == frame->turns_wanted) {
    a.r[0] = turns;
    return go_on(target(loop), a, cpu);
  }
  if (!charge(*loop, cpu)) [[unlikely]]
    return out_of_fuel(loop, a, cpu);
  return take_turn<mode>(loop, a, cpu, frame);
}

template <Mode mode>
const Step* no_tail_call(const Step* step, Activation& a, Cpu& cpu) {
  return returned<mode>(step + 1, a, cpu, 0);
}

template <Mode mode, bool indexed>
const Step* known_tail_call(const Step* step, Activation& a, Cpu& cpu) {
  const auto* slot = reinterpret_cast<const std::atomic<maps::ObjectHolder*>*>(step->imm);
  if constexpr (indexed) {
    const auto index = static_cast<uint32_t>(a.r[3]);
    if (index >= step->charge.cost) return no_tail_call<mode>(step, a, cpu);
    slot += index;
  }
  if (cpu.tail_calls >= kMaxTailCalls) return no_tail_call<mode>(step, a, cpu);
  // The kernel counts the attempt, whether or not a program is there.
  ++cpu.tail_calls;
  const maps::ObjectHolder* holder = slot->load(std::memory_order_acquire);
  if (!holder) return no_tail_call<mode>(step, a, cpu);
  const auto& found = *static_cast<const TailTarget*>(holder->run_data);
  if constexpr (mode == Mode::kChecked) {
    cpu.fuel -= static_cast<int64_t>(found.cost);
    if (cpu.fuel < 0) [[unlikely]]
      return out_of_fuel(step, a, cpu);
    cpu.expect_whole_stack_written();
  }
  cpu.enter(*found.program);
  begin_target<mode>(a, cpu);
  const void* first = found.steps[static_cast<size_t>(mode)].load(std::memory_order_acquire);
  if (!first) [[unlikely]]
    return prepare_target<mode>(step, a, cpu);
  return go_on(static_cast<const Step*>(first), a, cpu);
}

template <Mode mode>
constexpr KnownHandlers kHandlers{.processor_id = processor_id<mode>,
                                  .lookup_in_array = lookup_in_array<mode>,
                                  .lookup_by_function = lookup_by_function<mode>,
                                  .begin_loop = begin_loop<mode>,
                                  .next_turn = next_turn<mode>,
                                  .tail_call = known_tail_call<mode, false>,
                                  .tail_call_indexed = known_tail_call<mode, true>,
                                  .no_tail_call = no_tail_call<mode>};

}  // namespace

const KnownHandlers& known_handlers(Mode mode) {
  return mode == Mode::kChecked ? kHandlers<Mode::kChecked> : kHandlers<Mode::kVerified>;
}

}  // namespace skep::vm::interpreter
