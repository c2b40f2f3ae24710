#include "jit/emitter.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "jit/runtime.hpp"

namespace skep::jit {

using asmjit::imm;
using isa::Op;
using vm::RunState;
namespace x86 = asmjit::x86;

namespace {

static_assert(vm::kMaxLoops <= std::numeric_limits<int32_t>::max());
static_assert(std::is_standard_layout_v<RunState>);

bool touches(const vm::LoweredInstruction& i, unsigned reg) { return i.dst == reg || i.src == reg; }

}  // namespace

Emitter::Emitter(const vm::Program& program, vm::Mode mode, bool bmi2, asmjit::CodeHolder& code)
    : program_(program),
      mode_(mode),
      bmi2_(bmi2),
      code_(code),
      a_(&code),
      labels_(program.code().size()),
      trampoline_(a_.newLabel()),
      unwind_(a_.newLabel()),
      return_zero_(a_.newLabel()) {
  for (size_t i = 0; i < program.subprograms().size(); ++i) functions_.push_back(a_.newLabel());
  offsets_.reserve(program.code().size());
}

void Emitter::emit() {
  for (const vm::Subprogram& f : program_.subprograms()) function(f);
  if (returns_zero_) {
    a_.bind(return_zero_);
    a_.xor_(x86::eax, x86::eax);
    leave();
  }
  fault_stubs();
  check_thunks();
  trampoline();
}

CodeLayout Emitter::layout() const {
  const auto offset = [this](const Label& label) { return static_cast<uint32_t>(code_.labelOffset(label)); };
  CodeLayout layout;
  layout.trampoline = offset(trampoline_);
  for (const Label& label : functions_) layout.functions.push_back(offset(label));
  layout.instructions = offsets_;
  return layout;
}

void Emitter::function(const vm::Subprogram& function) {
  const auto code = program_.code().subspan(function.begin, function.length());
  saved_.clear();
  for (unsigned reg = 6; reg <= 9; ++reg) {
    // A verified function's callers save what they use themselves; an unverified one reads what it likes.
    const bool used = std::ranges::any_of(code, [reg](const auto& i) { return touches(i, reg); });
    if (used || checked()) saved_.push_back(native(reg));
  }
  a_.align(asmjit::AlignMode::kCode, 16);
  a_.bind(functions_[function.index]);
  a_.sub(x86::rsp, kNativeFrame);
  if (function.uses_may_goto) a_.mov(x86::qword_ptr(x86::rsp), imm(static_cast<int64_t>(vm::kMaxLoops)));
  for (uint32_t n = function.begin; n < function.end; ++n) {
    a_.bind(label_of(n));
    offsets_.push_back(static_cast<uint32_t>(a_.offset()));
    instruction(program_.code()[n]);
  }
}

void Emitter::instruction(const Instruction& i) {
  const isa::Row& row = isa::row(i.op);
  switch (row.cls) {
    case isa::Class::kAlu:
      return arithmetic(i, row);
    case isa::Class::kJump:
      return conditional_jump(i, row);
    case isa::Class::kLoad:
      return load(i, row);
    case isa::Class::kStore:
      return store(i, row);
    case isa::Class::kAtomic:
      return atomic(i, row);
    case isa::Class::kOrdered:
      return ordered(i, row);
    case isa::Class::kLdImm:
      return move_immediate(native(i.dst), i.imm);
    case isa::Class::kPacket:
      return packet_load(i, row);
    case isa::Class::kControl:
      return control(i);
  }
}

void Emitter::control(const Instruction& i) {
  switch (i.op) {
    case Op::kGoto:
    case Op::kGotol:
      return jump(i);
    case Op::kMayGoto:
      return may_goto(i);
    case Op::kCallLocal:
      return local_call(i);
    case Op::kCallHelper:
    case Op::kCallReg:
      return helper_call(i);
    case Op::kExit:
      return leave();
    case Op::kCallKfunc:  // refused when the program was lowered
#define SKEP_ALU(name, ...) case Op::k##name:
#define SKEP_JUMP(name, ...) case Op::k##name:
#define SKEP_LOAD(name, ...) case Op::k##name:
#define SKEP_STORE(name, ...) case Op::k##name:
#define SKEP_ATOMIC(name, ...) case Op::k##name:
#define SKEP_ORDERED(name, ...) case Op::k##name:
#define SKEP_LDIMM(name, ...) case Op::k##name:
#define SKEP_PACKET(name, ...) case Op::k##name:
#include "isa/instructions.def"
      a_.ud2();
      return;
  }
}

// uint64_t (vm::RunState* cpu, const uint64_t* arguments, const void* function)
void Emitter::trampoline() {
  static constexpr Gp kPreserved[] = {x86::rbp, x86::rbx, x86::r12, x86::r13, x86::r14, x86::r15};
  const Mem native_stack = run_state(offsetof(RunState, native_stack));
  a_.align(asmjit::AlignMode::kCode, 16);
  a_.bind(trampoline_);
  for (const Gp& reg : kPreserved) a_.push(reg);
  a_.mov(kCpu, x86::rdi);
  a_.push(native_stack);  // of the run that this one is nested in
  a_.mov(native_stack, x86::rsp);
  a_.mov(kScratch2, x86::rdx);
  a_.mov(kScratch, x86::rsi);
  for (unsigned n = 1; n <= 5; ++n)
    a_.mov(native(n), x86::qword_ptr(kScratch, static_cast<int32_t>((n - 1) * sizeof(uint64_t))));
  a_.mov(kFrame, run_state(offsetof(RunState, frame_top)));
  a_.xor_(x86::eax, x86::eax);
  for (unsigned n = 6; n <= 9; ++n) a_.xor_(native(n).r32(), native(n).r32());
  a_.call(kScratch2);

  const Label back = a_.newLabel();
  a_.bind(back);
  a_.pop(native_stack);
  for (size_t n = std::size(kPreserved); n-- > 0;) a_.pop(kPreserved[n]);
  a_.ret();

  a_.bind(unwind_);
  a_.mov(x86::rsp, native_stack);
  a_.xor_(x86::eax, x86::eax);
  a_.jmp(back);
}

void Emitter::fault_stubs() {
  if (fault_stubs_.empty()) return;
  const Label raise = a_.newLabel();
  for (const FaultStub& stub : fault_stubs_) {
    a_.bind(stub.label);
    a_.mov(x86::edx, stub.slot);
    a_.mov(x86::ecx, static_cast<uint32_t>(stub.kind));
    if (stub.size != 0) {
      a_.mov(x86::r8, kAddress);
      a_.mov(x86::r9d, stub.size);
    } else {
      a_.xor_(x86::r8d, x86::r8d);
      a_.xor_(x86::r9d, x86::r9d);
    }
    a_.jmp(raise);
  }
  a_.bind(raise);
  a_.mov(x86::rsp, run_state(offsetof(RunState, native_stack)));
  a_.mov(x86::rdi, kCpu);
  move_immediate(x86::rsi, reinterpret_cast<uintptr_t>(&program_));
  call(reinterpret_cast<const void*>(&raise_fault));
  a_.jmp(unwind_);
}

asmjit::Label& Emitter::label_of(uint32_t index) {
  Label& label = labels_[index];
  if (!label.isValid()) label = a_.newLabel();
  return label;
}

asmjit::Label Emitter::fault(vm::FaultKind kind, uint32_t slot, unsigned size) {
  return fault_stubs_.emplace_back(a_.newLabel(), kind, slot, size).label;
}

void Emitter::call(const void* function) { a_.call(imm(reinterpret_cast<uintptr_t>(function))); }

void Emitter::move_immediate(const Gp& dst, uint64_t value) {
  const auto as_signed = static_cast<int64_t>(value);
  if (value == 0)
    a_.xor_(dst.r32(), dst.r32());
  else if (value <= std::numeric_limits<uint32_t>::max())
    a_.mov(dst.r32(), imm(static_cast<uint32_t>(value)));
  else
    a_.mov(dst.r64(), imm(as_signed));  // the assembler knows the form with 32 bits, sign-extended
}

void Emitter::charge(const Instruction& i) {
  if (i.cost == 0) return;
  a_.sub(run_state(offsetof(RunState, fuel)), imm(i.cost));
  a_.js(fault(vm::FaultKind::kFuel, i.slot));
}

}  // namespace skep::jit
