#include <bit>
#include <cerrno>

#include "jit/emitter.hpp"
#include "jit/runtime.hpp"

// Calls whose arguments are known (vm::KnownCall), carried out in place. They do what the helpers' functions
// and vm::tail_call_target() do; what they cannot do goes the ordinary way.
namespace skep::jit {

using asmjit::imm;
using vm::Region;
using vm::RunState;
namespace x86 = asmjit::x86;

void Emitter::known_call(const Instruction& i, const vm::KnownCall& known) {
  const auto& site = *reinterpret_cast<const vm::CallSite*>(i.imm);
  switch (site.helper->intrinsic) {
    case vm::Intrinsic::kNone:
      return known_tail_call(site, known);
    case vm::Intrinsic::kProcessorId:
      a_.mov(x86::eax, x86::dword_ptr(kCpu, static_cast<int32_t>(offsetof(RunState, cpu))));
      return clear_arguments();
    case vm::Intrinsic::kMapLookup:
      return lookup(i, *known.map);
    case vm::Intrinsic::kLoop:
      if (program_.notes_calls()) note_call(i.slot);
      return loop({known.callback->index, i.live_after});
    case vm::Intrinsic::kWalk:
      if (checked()) return ordinary_call(i);
      if (program_.notes_calls()) note_call(i.slot);
      return walk(i, known);
  }
}

// Code that is seldom run, behind the function; `emit` ends it with a jump.
void Emitter::out_of_line(const Label& label, std::function<void()> emit) {
  out_of_line_.emplace_back(label, std::move(emit));
}

// The ObjectHolder in the array's slot, to kScratch; from there it is counted and not null.
void Emitter::load_holder(const vm::KnownCall& known, const Label& go_on) {
  const auto slots = reinterpret_cast<uintptr_t>(known.map->object_slots());
  const uint32_t entries = known.map->spec().max_entries;
  if (known.index) {
    if (*known.index >= entries) {
      a_.jmp(go_on);
      return;
    }
    count_tail_call(go_on);
    program_constant(kScratch, slots + *known.index * sizeof(uintptr_t));
    a_.mov(kScratch, x86::qword_ptr(kScratch));
  } else {
    a_.mov(kAddress.r32(), native(3).r32());
    a_.emit(x86::Inst::kIdCmp, kAddress.r32(), constant(static_cast<int32_t>(entries), 32, kScratch));
    a_.jae(go_on);
    count_tail_call(go_on);
    move_immediate(kScratch, slots);
    a_.mov(kScratch, x86::qword_ptr(kScratch, kAddress, 3));
  }
  a_.test(kScratch, kScratch);
  a_.jz(go_on);
}

// The kernel counts the attempt, whether or not a program is there.
void Emitter::count_tail_call(const Label& go_on) {
  const auto made = x86::dword_ptr(kCpu, static_cast<int32_t>(offsetof(RunState, tail_calls)));
  a_.mov(x86::eax, made);
  a_.cmp(x86::eax, vm::kMaxTailCalls);
  a_.jae(go_on);
  a_.inc(x86::eax);
  a_.mov(made, x86::eax);
}

void Emitter::known_tail_call(const vm::CallSite& site, const vm::KnownCall& known) {
  const Label go_on = a_.newLabel();
  const Label prepare = a_.newLabel();
  const Label prepared = a_.newLabel();
  const auto code =
      static_cast<int32_t>(offsetof(vm::TailTarget, code) + static_cast<size_t>(mode_) * sizeof(void*));
  load_holder(known, go_on);
  a_.mov(kScratch, x86::qword_ptr(kScratch, offsetof(maps::ObjectHolder, run_data)));
  a_.mov(kAddress, x86::qword_ptr(kScratch, code));
  a_.test(kAddress, kAddress);
  a_.jz(prepare);
  a_.bind(prepared);
  if (checked()) {
    a_.mov(x86::rax, x86::qword_ptr(kScratch, offsetof(vm::TailTarget, cost)));
    take_fuel(x86::rax, site.slot);
  }
  a_.mov(x86::rax, x86::qword_ptr(kScratch, offsetof(vm::TailTarget, program)));
  a_.mov(run_state(offsetof(RunState, program)), x86::rax);
  enter_target();
  a_.bind(go_on);
  a_.xor_(x86::eax, x86::eax);
  clear_arguments();
  out_of_line(prepare, [this, prepared] {
    a_.push(native(1));
    a_.push(kScratch);
    a_.mov(x86::rdi, kCpu);
    a_.mov(x86::rsi, kScratch);
    spill_fuel();
    call(reinterpret_cast<const void*>(&prepare_target));
    reload_fuel();
    a_.mov(kAddress, x86::rax);
    a_.pop(kScratch);
    a_.pop(native(1));
    a_.jmp(prepared);
  });
}

// Jumps to the code in kAddress. The target's frame takes the place of this one. It sees r1 alone.
void Emitter::enter_target() {
  if (checked()) {
    a_.mov(run_state(offsetof(RunState, stack_written)), vm::kMaxFrames * vm::kFrameSize);
    forget_values();
    for (unsigned n = 0; n <= 9; ++n)
      if (n != 1) a_.xor_(native(n).r32(), native(n).r32());
  }
  if (frame_bytes_ != 0) a_.add(x86::rsp, frame_bytes_);
  branches_.jump(kAddress);
}

// Another program has other maps.
void Emitter::forget_values() {
  for (const size_t region : {offsetof(RunState, last_read), offsetof(RunState, last_write)})
    a_.mov(run_state(region + offsetof(Region, size)), 0);
}

// The value in r0 may be touched: spares the search for it.
void Emitter::note_value(const maps::Map& map) {
  // Of a value with fields only a part may be touched.
  if (!checked() || !map.spec().fields.empty()) return;
  const auto note = [&](size_t region) {
    a_.mov(run_state(region + offsetof(Region, begin)), x86::rax);
    store_constant(run_state(region + offsetof(Region, size)), map.spec().value_size);
  };
  note(offsetof(RunState, last_read));
  if (map.spec().program_may_write()) note(offsetof(RunState, last_write));
}

// map_lookup_elem. Programs keep keys on the stack; others are for the ordinary way to check.
void Emitter::lookup(const Instruction& i, maps::Map& map) {
  const uint32_t key_size = map.spec().key_size;
  const Label done = a_.newLabel();
  if (checked()) {
    // A map that was looked up has to be admitted.
    if (key_size > vm::kFrameSize || map.spec().inner != nullptr) return ordinary_call(i);
    check_key(i, key_size, done);
  }
  if (const auto layout = inlined_layout(map)) {
    array_lookup(map, *layout, done);
  } else if (const auto function = map.lookup_function()) {
    a_.mov(x86::edx, x86::dword_ptr(kCpu, static_cast<int32_t>(offsetof(RunState, cpu))));
    spill_fuel();
    call(reinterpret_cast<const void*>(function));
    reload_fuel();
    if (checked()) {
      a_.test(x86::rax, x86::rax);
      a_.jz(done);
      note_value(map);
    }
  } else {
    ordinary_call(i);
  }
  a_.bind(done);
  clear_arguments();
}

void Emitter::check_key(const Instruction& i, uint32_t size, const Label& done) {
  const Label elsewhere = a_.newLabel();
  a_.lea(kScratch, x86::ptr(kFrame, -static_cast<int32_t>(size)));
  a_.cmp(native(2), kScratch);
  a_.ja(elsewhere);
  a_.cmp(native(2), run_state(offsetof(RunState, stack_begin)));
  a_.jb(elsewhere);
  out_of_line(elsewhere, [this, &i, done] {
    ordinary_call(i);
    a_.jmp(done);
  });
}

// As the kernel's array_map_gen_lookup() does it.
void Emitter::array_lookup(const maps::Map& map, const maps::ArrayLayout& layout, const Label& done) {
  // The map's register is free from here on.
  const auto multiply = [this](const Gp& index, size_t stride) {
    a_.emit(x86::Inst::kIdImul, index, constant(static_cast<int32_t>(stride), 64, native(1)));
  };
  a_.mov(kScratch.r32(), x86::dword_ptr(native(2)));
  a_.xor_(x86::eax, x86::eax);
  const auto entries = static_cast<int32_t>(map.spec().max_entries);
  a_.emit(x86::Inst::kIdCmp, kScratch.r32(), constant(entries, 32, kAddress));
  a_.jae(done);
  move_immediate(x86::rax, reinterpret_cast<uintptr_t>(layout.elements));
  if (layout.cpu_stride != 0) {
    a_.mov(kAddress.r32(), x86::dword_ptr(kCpu, static_cast<int32_t>(offsetof(RunState, cpu))));
    multiply(kAddress, layout.cpu_stride);
    a_.add(x86::rax, kAddress);
  }
  if (!std::has_single_bit(layout.element_size)) {
    multiply(kScratch, layout.element_size);
    a_.add(x86::rax, kScratch);
  } else if (const auto shift = static_cast<unsigned>(std::countr_zero(layout.element_size)); shift <= 3) {
    a_.lea(x86::rax, x86::ptr(x86::rax, kScratch, shift));
  } else {
    a_.shl(kScratch, shift);
    a_.add(x86::rax, kScratch);
  }
  note_value(map);
}

// In the function's native frame: what the callbacks get; and how many calls are asked for (the low half) and
// were made.
Emitter::Mem Emitter::loop_slot(unsigned word) const {
  return x86::qword_ptr(x86::rsp, static_cast<int32_t>((static_cast<unsigned>(std::popcount(saved_)) + word) *
                                                       sizeof(uint64_t)));
}

// bpf_loop, of a function of this program.
void Emitter::loop(const LocalCall& call) {
  const Label done = a_.newLabel();
  const Label bad_flags = a_.newLabel();
  const Label too_many = a_.newLabel();
  a_.test(native(4), native(4));
  a_.jnz(bad_flags);
  a_.cmp(native(1).r32(), imm(vm::kMaxLoops));
  a_.ja(too_many);
  a_.xor_(x86::eax, x86::eax);
  a_.test(native(1).r32(), native(1).r32());
  a_.jz(done);
  a_.mov(loop_slot(0), native(3));
  a_.mov(native(1).r32(), native(1).r32());
  a_.mov(loop_slot(1), native(1));  // and no calls made
  loop_body(call);
  a_.bind(done);
  clear_arguments();
  out_of_line(bad_flags, [this, done] {
    a_.mov(x86::rax, imm(-EINVAL));
    a_.jmp(done);
  });
  out_of_line(too_many, [this, done] {
    a_.mov(x86::rax, imm(-E2BIG));
    a_.jmp(done);
  });
}

// Calls a function of the program once more from a loop. Costs, faults and leaves behind what
// vm::Cpu::call_back() does. The arguments are set where kScratch has to be kept.
void Emitter::enter_callback(const LocalCall& call, const std::function<void()>& set_arguments) {
  const vm::Subprogram& callback = program_.subprograms()[call.callee];
  const FunctionFacts& callee = analysis_.functions[call.callee];
  const uint32_t slot = program_.code()[callback.begin].slot;
  const bool moves_frame = checked() || callee.has_frame;
  take_fuel(imm(callback.length()), slot);
  a_.lea(kScratch, x86::ptr(kFrame, vm::kFrameSize));
  a_.cmp(kScratch, run_state(offsetof(RunState, stack_end)));
  a_.ja(fault(vm::FaultKind::kCallDepth, slot));
  set_arguments();
  if (moves_frame) a_.mov(kFrame, kScratch);
  a_.call(functions_[callback.index]);
  if (moves_frame) a_.sub(kFrame, vm::kFrameSize);
  if (callee.tail_calls) back_in_program();
}

// At least one call.
void Emitter::loop_body(const LocalCall& call) {
  const FunctionFacts& callee = analysis_.functions[call.callee];
  const RegisterSet saved = saved_across(call);
  const Label again = a_.newLabel();
  const Label stop = a_.newLabel();
  Mem asked = loop_slot(1);
  asked.setSize(4);
  Mem made = asked.cloneAdjusted(4);
  save_registers(saved);
  if (checked()) a_.mov(run_state(offsetof(RunState, stack_written)), vm::kMaxFrames * vm::kFrameSize);
  a_.bind(again);
  enter_callback(call, [&] {
    a_.mov(native(1).r32(), made);
    a_.mov(native(2), loop_slot(0));
    for (unsigned reg = 0; reg <= 9 && checked(); ++reg)
      if (reg != 1 && reg != 2 && (callee.names & register_bit(reg)) != 0)
        a_.xor_(native(reg).r32(), native(reg).r32());
  });
  a_.mov(x86::ecx, made);
  a_.inc(x86::ecx);
  a_.mov(made, x86::ecx);
  a_.test(x86::rax, x86::rax);
  a_.jnz(stop);
  a_.cmp(x86::ecx, asked);
  a_.jb(again);
  a_.bind(stop);
  if (checked() && callee.moves_packet) checks_.drop();
  a_.mov(x86::eax, x86::ecx);
  restore_registers(saved);
}

// bpf_for_each_map_elem, of a known map and a function of this program; in verified mode.
void Emitter::walk(const Instruction& i, const vm::KnownCall& known) {
  const LocalCall call{known.callback->index, i.live_after};
  const RegisterSet saved = saved_across(call);
  const Label done = a_.newLabel();
  const Label bad_flags = a_.newLabel();
  a_.test(native(4), native(4));
  a_.jnz(bad_flags);
  a_.mov(loop_slot(0), native(3));
  save_registers(saved);
  if (const auto layout = inlined_layout(*known.map))
    walk_array(call, *known.map, *layout);
  else
    walk_by_steps(call, *known.map);
  restore_registers(saved);
  a_.bind(done);
  out_of_line(bad_flags, [this, done] {
    a_.mov(x86::rax, imm(-EINVAL));
    a_.jmp(done);
  });
}

// A function of the map's type makes the steps.
void Emitter::walk_by_steps(const LocalCall& call, maps::Map& map) {
  const Label again = a_.newLabel();
  const Label stop = a_.newLabel();
  const Mem visited = loop_slot(1);
  const auto map_address = reinterpret_cast<uintptr_t>(&map);
  for (unsigned word = 1; word < kWalkWords; ++word) a_.mov(loop_slot(word), 0);
  a_.bind(again);
  move_immediate(x86::rdi, map_address);
  a_.lea(x86::rsi, loop_slot(kLoopWords));
  a_.mov(x86::edx, x86::dword_ptr(kCpu, static_cast<int32_t>(offsetof(RunState, cpu))));
  this->call(reinterpret_cast<const void*>(map.step_function()));
  a_.test(x86::rax, x86::rax);
  a_.jz(stop);
  a_.inc(visited);
  enter_callback(call, [&] {
    // The value is returned where the third argument goes.
    a_.mov(native(2), x86::rax);
    move_immediate(native(1), map_address);
    a_.mov(native(4), loop_slot(0));
  });
  a_.test(x86::rax, x86::rax);
  a_.jz(again);
  a_.bind(stop);
  a_.mov(x86::rax, visited);
}

// In the frame: how many elements were visited, the next one's value, and the key.
void Emitter::walk_array(const LocalCall& call, const maps::Map& map, const maps::ArrayLayout& layout) {
  const Label again = a_.newLabel();
  const Label stop = a_.newLabel();
  const Mem visited = loop_slot(1);
  const Mem value = loop_slot(2);
  const Mem key = loop_slot(3);
  a_.mov(visited, 0);
  move_immediate(x86::rax, reinterpret_cast<uintptr_t>(layout.elements));
  if (layout.cpu_stride != 0) {
    a_.mov(kAddress.r32(), x86::dword_ptr(kCpu, static_cast<int32_t>(offsetof(RunState, cpu))));
    a_.emit(x86::Inst::kIdImul, kAddress, constant(static_cast<int32_t>(layout.cpu_stride), 64, kScratch));
    a_.add(x86::rax, kAddress);
  }
  a_.mov(value, x86::rax);
  a_.bind(again);
  a_.mov(x86::rax, visited);
  program_constant(kAddress, map.spec().max_entries);
  a_.cmp(x86::rax, kAddress);
  a_.jae(stop);
  a_.mov(key, x86::rax);
  a_.inc(x86::rax);
  a_.mov(visited, x86::rax);
  enter_callback(call, [&] {
    a_.mov(native(3), value);
    a_.mov(kAddress, native(3));
    a_.emit(x86::Inst::kIdAdd, kAddress, constant(static_cast<int32_t>(layout.element_size), 64, x86::rax));
    a_.mov(value, kAddress);
    a_.lea(native(2), key);
    move_immediate(native(1), reinterpret_cast<uintptr_t>(&map));
    a_.mov(native(4), loop_slot(0));
  });
  a_.test(x86::rax, x86::rax);
  a_.jz(again);
  a_.bind(stop);
  a_.mov(x86::rax, visited);
}

}  // namespace skep::jit
