#include <bit>

#include "jit/emitter.hpp"
#include "jit/runtime.hpp"
#include "vm/helper_call.hpp"

namespace skep::jit {

using vm::RunState;
namespace x86 = asmjit::x86;

// Which registers a call must not change but its callee does.
RegisterSet Emitter::saved_across(const LocalCall& call) const {
  return call.live_after & analysis_.functions[call.callee].clobbers;
}

Emitter::Mem Emitter::save_slot(unsigned reg) const {
  const auto below = static_cast<unsigned>(std::popcount(saved_ & (register_bit(reg) - 1)));
  return x86::qword_ptr(x86::rsp, static_cast<int32_t>(below * sizeof(uint64_t)));
}

void Emitter::save_registers(RegisterSet set) {
  for (unsigned reg = 6; reg <= 9; ++reg)
    if ((set & register_bit(reg)) != 0) a_.mov(save_slot(reg), native(reg));
}

void Emitter::restore_registers(RegisterSet set) {
  for (unsigned reg = 6; reg <= 9; ++reg)
    if ((set & register_bit(reg)) != 0) a_.mov(native(reg), save_slot(reg));
}

// Another program may have returned here.
void Emitter::back_in_program() {
  move_immediate(kScratch, reinterpret_cast<uintptr_t>(&program_));
  a_.mov(run_state(offsetof(RunState, program)), kScratch);
  if (checked()) forget_values();
}

// vm::Cpu::note_call()
void Emitter::note_call(uint32_t slot) {
  static_assert(vm::kFrameSize == 64 * sizeof(uint64_t));
  a_.mov(kAddress, kFrame);
  a_.sub(kAddress, run_state(offsetof(RunState, stack_begin)));
  a_.shr(kAddress, 6);
  move_immediate(kScratch, vm::Cpu::place_of(program_, slot));
  a_.mov(x86::qword_ptr(kCpu, kAddress, 0, static_cast<int32_t>(offsetof(RunState, calls))), kScratch);
}

void Emitter::local_call(const Instruction& i) {
  const FunctionFacts& callee = analysis_.functions[i.target];
  const RegisterSet saved = saved_across({i.target, i.live_after});
  charge(i);
  if (program_.notes_calls()) note_call(i.slot);
  if (checked()) {
    a_.lea(kScratch, x86::ptr(kFrame, vm::kFrameSize));
    a_.cmp(kScratch, run_state(offsetof(RunState, stack_end)));
    a_.ja(fault(vm::FaultKind::kCallDepth, i.slot));
  }
  save_registers(saved);
  if (checked())
    a_.mov(kFrame, kScratch);
  else if (callee.has_frame)
    a_.add(kFrame, vm::kFrameSize);
  a_.call(functions_[i.target]);
  if (callee.has_frame) a_.sub(kFrame, vm::kFrameSize);
  restore_registers(saved);
  if (callee.tail_calls) back_in_program();
  if (checked() && callee.moves_packet) checks_.drop();
  clear_arguments();
}

void Emitter::helper_call(const Instruction& i) {
  const auto& site = *reinterpret_cast<const vm::CallSite*>(i.imm);
  if (const vm::KnownCall* known = optimized_.known_call(i)) return known_call(i, *known);
  if (site.helper && site.helper->special == vm::Special::kTailCall) return tail_call(site);
  ordinary_call(i);
}

void Emitter::ordinary_call(const Instruction& i) {
  const auto& site = *reinterpret_cast<const vm::CallSite*>(i.imm);
  if (checked() || vm::may_call_back(site) || site.helper->walks_stack)
    a_.mov(run_state(offsetof(RunState, frame_top)), kFrame);
  if (vm::entry_reads_call_site(site, mode_)) {
    move_immediate(kScratch, i.imm);
    a_.mov(run_state(offsetof(RunState, call_site)), kScratch);
  }
  if (!site.helper) a_.mov(run_state(offsetof(RunState, helper_number)), native(i.dst));
  a_.mov(x86::r9, kCpu);
  spill_fuel();
  call(reinterpret_cast<const void*>(vm::helper_entry(site, mode_)));
  if (checked() || vm::may_call_back(site)) {
    a_.cmp(run_state(offsetof(RunState, faulted)), 0);
    a_.jne(unwinding());
  }
  reload_fuel();
  if (checked() && vm::may_move_packet(site)) checks_.drop();
  clear_arguments();
}

void Emitter::tail_call(const vm::CallSite& site) {
  const Label go_on = a_.newLabel();
  a_.mov(x86::rcx, kCpu);
  move_immediate(x86::r8, reinterpret_cast<uintptr_t>(&site));
  spill_fuel();
  call(reinterpret_cast<const void*>(&jit::tail_call));
  reload_fuel();
  a_.test(x86::rax, x86::rax);
  a_.jz(go_on);
  // The target's frame takes the place of this one. It sees r1 alone.
  a_.mov(kAddress, x86::rax);
  a_.mov(kScratch, x86::rdx);
  if (checked()) {
    a_.xor_(x86::eax, x86::eax);
    clear_arguments();
    for (unsigned n = 6; n <= 9; ++n) a_.xor_(native(n).r32(), native(n).r32());
  }
  a_.mov(native(1), kScratch);
  if (frame_bytes_ != 0) a_.add(x86::rsp, frame_bytes_);
  branches_.jump(kAddress);

  a_.bind(go_on);
  a_.cmp(run_state(offsetof(RunState, faulted)), 0);
  a_.jne(unwinding());
  a_.xor_(x86::eax, x86::eax);
  clear_arguments();
}

void Emitter::packet_load(const Instruction& i, const isa::Row& row) {
  const auto offset = static_cast<int32_t>(static_cast<uint32_t>(i.imm));
  if (row.packet_mode() != isa::PacketMode::kInd) {
    program_constant(x86::rsi, static_cast<uint32_t>(offset));
  } else if (options_.blinding) {
    program_constant(kScratch, static_cast<uint32_t>(offset));
    a_.lea(x86::esi, x86::ptr(native(i.src), kScratch));
  } else {
    a_.lea(x86::esi, x86::ptr(native(i.src), offset));
  }
  a_.mov(x86::rdi, kCpu);
  a_.mov(x86::edx, row.width / 8);
  spill_fuel();
  call(reinterpret_cast<const void*>(&vm::load_packet));
  reload_fuel();
  a_.test(x86::rax, x86::rax);
  a_.js(return_zero_);
  returns_zero_ = true;
  clear_arguments();
}

void Emitter::leave() {
  if (frame_bytes_ != 0) a_.add(x86::rsp, frame_bytes_);
  a_.ret();
}

// r1 to r5 read as 0 after a call. A verified program does not read them.
void Emitter::clear_arguments() {
  if (!checked()) return;
  for (unsigned n = 1; n <= 5; ++n) a_.xor_(native(n).r32(), native(n).r32());
}

}  // namespace skep::jit
