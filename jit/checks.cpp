#include "jit/emitter.hpp"
#include "jit/runtime.hpp"

// Checked mode's checks: a thunk per width and direction holds the address in kAddress against the regions
// the program most likely means and asks the CPU about others.
namespace skep::jit {

using asmjit::imm;
using vm::Region;
using vm::RunState;
namespace x86 = asmjit::x86;

namespace {

// Every frame has its own 512 bytes below r10, which no program can change.
bool inside_frame(unsigned base, int off, unsigned bytes) {
  return base == isa::kFramePointer && off >= -static_cast<int>(vm::kFrameSize) &&
         off <= -static_cast<int>(bytes);
}

}  // namespace

// The memory operand for an access of base + off; in checked mode behind its check. Uses kAddress (the base
// of the operand then), kScratch and kScratch2.
asmjit::x86::Mem Emitter::checked_access(unsigned base, const Instruction& i, unsigned bytes, bool write) {
  const Mem at = memory(base, i, bytes);
  if (!checked() || (i.index == vm::kZeroRegister && inside_frame(base, i.off, bytes))) return at;
  if (i.off == 0 && i.index == vm::kZeroRegister)
    a_.mov(kAddress, native(base));
  else
    a_.lea(kAddress, at);
  a_.mov(kScratch2.r32(), i.slot);
  a_.call(check_thunk(bytes, write));
  return x86::ptr(kAddress, 0, bytes);
}

asmjit::x86::Mem Emitter::checked_aligned_access(unsigned base, const Instruction& i, unsigned bytes,
                                                 bool write) {
  const Mem at = checked_access(base, i, bytes, write);
  if (!checked() || bytes == 1) return at;
  if (at.baseId() != kAddress.id()) a_.lea(kAddress, at);
  a_.test(kAddress.r8(), imm(bytes - 1));
  a_.jnz(fault(vm::FaultKind::kMisaligned, i.slot, bytes));
  return x86::ptr(kAddress, 0, bytes);
}

asmjit::Label Emitter::check_thunk(unsigned bytes, bool write) {
  for (const CheckThunk& thunk : check_thunks_)
    if (thunk.bytes == bytes && thunk.write == write) return thunk.label;
  return check_thunks_.emplace_back(a_.newLabel(), bytes, write).label;
}

// Address in kAddress, slot in kScratch2; changes kScratch alone.
void Emitter::check_thunks() {
  for (const CheckThunk& thunk : check_thunks_) {
    const Label inside = a_.newLabel();
    const Label not_stack = a_.newLabel();
    const size_t last = thunk.write ? offsetof(RunState, last_write) : offsetof(RunState, last_read);
    a_.align(asmjit::AlignMode::kCode, 16);
    a_.bind(thunk.label);
    a_.lea(kScratch, x86::ptr(kFrame, -static_cast<int>(thunk.bytes)));
    a_.cmp(kAddress, kScratch);
    a_.ja(not_stack);
    a_.cmp(kAddress, run_state(offsetof(RunState, stack_begin)));
    a_.jae(inside);
    a_.bind(not_stack);
    check_region(offsetof(RunState, packet), thunk.bytes, inside);
    check_region(last, thunk.bytes, inside);
    check_slowly(thunk);
    a_.bind(inside);
    a_.ret();
  }
}

// The frames up to the running function's own.
void Emitter::check_stack(unsigned bytes, const Label& inside) {
  const Label outside = a_.newLabel();
  a_.mov(kScratch, kAddress);
  a_.add(kScratch, bytes);
  a_.jc(outside);
  a_.cmp(kScratch, kFrame);
  a_.ja(outside);
  a_.cmp(kAddress, run_state(offsetof(RunState, stack_begin)));
  a_.jae(inside);
  a_.bind(outside);
}

// Jumps if begin <= address and address + bytes <= begin + size.
void Emitter::check_region(size_t region, unsigned bytes, const Label& inside) {
  const Label outside = a_.newLabel();
  a_.mov(kScratch, kAddress);
  a_.sub(kScratch, run_state(region + offsetof(Region, begin)));
  a_.add(kScratch, bytes);
  a_.jc(outside);
  a_.cmp(kScratch, run_state(region + offsetof(Region, size)));
  a_.jbe(inside);
  a_.bind(outside);
}

void Emitter::check_slowly(const CheckThunk& thunk) {
  static constexpr Gp kKept[] = {x86::rax, x86::rdi, x86::rsi, x86::rdx, x86::rcx, x86::r8, kAddress};
  for (const Gp& reg : kKept) a_.push(reg);
  // Not every function keeps the stack aligned.
  a_.mov(kScratch, x86::rsp);
  a_.and_(x86::rsp, -16);
  a_.push(kScratch);
  a_.push(kScratch);
  a_.mov(run_state(offsetof(RunState, frame_top)), kFrame);
  a_.mov(x86::rdi, kCpu);
  move_immediate(x86::rsi, reinterpret_cast<uintptr_t>(&program_));
  a_.mov(x86::edx, kScratch2.r32());
  a_.mov(x86::rcx, kAddress);
  a_.mov(x86::r8d, thunk.bytes);
  a_.mov(x86::r9d, thunk.write ? 1 : 0);
  call(reinterpret_cast<const void*>(&check_access));
  a_.test(x86::al, x86::al);
  a_.mov(x86::rsp, x86::qword_ptr(x86::rsp));
  for (size_t n = std::size(kKept); n-- > 0;) a_.pop(kKept[n]);
  a_.jz(unwinding());
}

}  // namespace skep::jit
