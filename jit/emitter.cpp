#include "jit/emitter.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <type_traits>

#include "jit/runtime.hpp"
#include "jit/trampoline.hpp"

namespace skep::jit {

using asmjit::imm;
using isa::Op;
using vm::Operation;
using vm::RunState;
namespace x86 = asmjit::x86;

namespace {

static_assert(vm::kMaxLoops <= std::numeric_limits<int32_t>::max());
static_assert(std::is_standard_layout_v<RunState>);

// What blinding adds to it.
constexpr uint32_t kBlinding = 48;

// The most that an instruction's code may be, for jumps over it. Not tight: what is near is near by far.
uint32_t size_bound(const vm::LoweredInstruction& i, bool checked) {
  static constexpr uint32_t kFar = 1000;
  if (vm::is_fused(i.op)) {
    if (vm::fused_row(i.op).kind == vm::Fused::kDivision) return 100;
    return checked ? 70 : 25;
  }
  const isa::Row& row = isa::row(vm::isa_op(i.op));
  switch (row.cls) {
    case isa::Class::kAlu:
      if (row.alu() == isa::AluOp::kDiv || row.alu() == isa::AluOp::kMod || row.alu() == isa::AluOp::kSdiv ||
          row.alu() == isa::AluOp::kSmod)
        return kFar;
      return 16;
    case isa::Class::kJump:
      return checked && i.cost != 0 ? 40 : 13;
    case isa::Class::kLoad:
      return checked ? 45 : 9;
    case isa::Class::kStore:
      return checked ? 50 : 13;
    case isa::Class::kLdImm:
      return 10;
    case isa::Class::kControl:
      return i.op == Operation::kExit || (i.op == Operation::kGoto && !checked) ? 10 : kFar;
    case isa::Class::kAtomic:
    case isa::Class::kOrdered:
    case isa::Class::kPacket:
      return kFar;
  }
  return kFar;
}

}  // namespace

Emitter::Emitter(const vm::Program& program, vm::Mode mode, const Translating& options,
                 const SharedCode& shared, asmjit::CodeHolder& code)
    : program_(program),
      mode_(mode),
      options_(options),
      optimized_(program.optimized(mode)),
      operations_(optimized_.instructions),
      code_(code),
      a_(&code),
      branches_(a_, options.retpolines),
      random_(options.seed),
      analysis_(analyse(program, mode)),
      labels_(operations_.size()),
      checks_(a_, branches_, shared.access_search),
      entry_(a_.newLabel()),
      unwind_(a_.newLabel()) {
  for (size_t i = 0; i < program.subprograms().size(); ++i) functions_.push_back(a_.newLabel());
  offsets_.reserve(operations_.size());
  size_bounds_.reserve(operations_.size());
  uint32_t bound = 0;
  for (uint32_t n = 0; n < operations_.size(); ++n) {
    const Instruction& i = operations_[n];
    if (analysis_.is_loop_head(n)) bound += options.loop_alignment;
    size_bounds_.push_back(bound);
    bound += size_bound(i, checked()) + (options.blinding ? kBlinding : 0);
  }
}

void Emitter::emit() {
  for (const vm::Subprogram& f : program_.subprograms()) function(f);
  end_of_functions_ = static_cast<uint32_t>(a_.offset());
  fault_stubs();
  checks_.out_of_line();
  entry();
  unwind();
  branches_.thunks();
}

CodeLayout Emitter::layout() const {
  const auto offset = [this](const Label& label) { return static_cast<uint32_t>(code_.labelOffset(label)); };
  CodeLayout layout;
  layout.entry = offset(entry_);
  layout.end_of_functions = end_of_functions_;
  for (const Label& label : functions_) layout.functions.push_back(offset(label));
  layout.instructions = instruction_offsets();
  return layout;
}

// An instruction that has become part of a later one's operation has no code of its own.
std::vector<uint32_t> Emitter::instruction_offsets() const {
  std::vector<uint32_t> out;
  out.reserve(program_.instructions().size());
  size_t n = 0;
  for (const isa::Instruction& instruction : program_.instructions()) {
    while (n < operations_.size() && operations_[n].slot < instruction.slot) ++n;
    out.push_back(n < operations_.size() ? offsets_[n] : end_of_functions_);
  }
  return out;
}

void Emitter::lay_out_frame(const vm::Subprogram& function) {
  facts_ = &analysis_.functions[function.index];
  saved_ = 0;
  for (const LocalCall& call : facts_->calls) saved_ |= saved_across(call);
  const int front = std::popcount(saved_) + static_cast<int>(facts_->loop_words);
  caches_at_ = front * static_cast<int>(sizeof(uint64_t));
  const int words = front + AccessChecks::frame_words(facts_->caches) + (function.uses_may_goto ? 1 : 0);
  // The return address makes it even.
  const bool pad = facts_->calls_cpp && words % 2 == 0;
  frame_bytes_ = (words + (pad ? 1 : 0)) * static_cast<int>(sizeof(uint64_t));
}

void Emitter::function(const vm::Subprogram& function) {
  lay_out_frame(function);
  return_zero_ = a_.newLabel();
  returns_zero_ = false;
  a_.align(asmjit::AlignMode::kCode, 16);
  a_.bind(functions_[function.index]);
  if (frame_bytes_ != 0) a_.sub(x86::rsp, frame_bytes_);
  if (function.uses_may_goto)
    a_.mov(x86::qword_ptr(x86::rsp, frame_bytes_ - 8), imm(static_cast<int64_t>(vm::kMaxLoops)));
  checks_.begin_function(facts_->caches, caches_at_);
  const auto [begin, end] = optimized_.functions[function.index];
  for (uint32_t n = begin; n < end; ++n) {
    if (analysis_.is_loop_head(n)) align_loop_head();
    if (analysis_.is_target(n)) a_.bind(label_of(n));
    offsets_.push_back(static_cast<uint32_t>(a_.offset()));
    current_ = n;
    instruction(operations_[n]);
  }
  if (returns_zero_) {
    a_.bind(return_zero_);
    a_.xor_(x86::eax, x86::eax);
    leave();
  }
  for (const auto& [label, emit] : out_of_line_) {
    a_.bind(label);
    emit();
  }
  out_of_line_.clear();
}

void Emitter::align_loop_head() {
  if (options_.loop_alignment != 0) a_.align(asmjit::AlignMode::kCode, options_.loop_alignment);
}

void Emitter::instruction(const Instruction& i) {
  if (vm::is_fused(i.op)) return fused(i);
  const isa::Row& row = isa::row(vm::isa_op(i.op));
  switch (row.cls) {
    case isa::Class::kAlu:
      return arithmetic(i, row);
    case isa::Class::kJump:
      return conditional_jump(i, row.condition(), row.width, row.source);
    case isa::Class::kLoad:
      return load(i, row);
    case isa::Class::kStore:
      return store(i, row);
    case isa::Class::kAtomic:
      return atomic(i, row);
    case isa::Class::kOrdered:
      return ordered(i, row);
    case isa::Class::kLdImm:
      return program_constant(native(i.dst), i.imm);
    case isa::Class::kPacket:
      return packet_load(i, row);
    case isa::Class::kControl:
      return control(i);
  }
}

void Emitter::control(const Instruction& i) {
  switch (vm::isa_op(i.op)) {
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

// uint64_t (uint64_t r1, uint64_t r2, vm::Cpu& cpu): saves and sets only what the program changes and looks
// at.
void Emitter::entry() {
  const FunctionFacts& facts = analysis_.functions.front();
  const bool may_unwind = unwinds_ || checks_.any() || facts.tail_calls;
  const auto uses = [&](const Gp& reg) {
    if (facts.tail_calls) return true;
    if (reg == kFrame) return facts.has_frame;
    if (reg == kCpu) return facts.uses_cpu || may_unwind || facts.has_frame;
    const RegisterSet used = checked() ? facts.names : facts.clobbers;
    for (unsigned n = 6; n <= 9; ++n)
      if (reg == native(n)) return (used & register_bit(n)) != 0;
    return false;
  };
  std::vector<Gp> saved;
  std::ranges::copy_if(kPreserved, std::back_inserter(saved), uses);
  a_.align(asmjit::AlignMode::kCode, 16);
  a_.bind(entry_);
  const bool pad = saved.size() % 2 == 0;
  for (const Gp& reg : saved) a_.push(reg);
  if (pad && !saved.empty()) a_.sub(x86::rsp, 8);
  if (uses(kCpu)) a_.mov(kCpu, x86::rdx);
  if (may_unwind) note_way_out(a_);
  if (uses(kFrame)) a_.mov(kFrame, run_state(offsetof(RunState, frame_top)));
  if (checked()) {
    for (unsigned n = 0; n <= 9; ++n)
      if (n == 0 || (n > 2 && (facts.names & register_bit(n)) != 0))
        a_.xor_(native(n).r32(), native(n).r32());
  }
  if (saved.empty()) {
    a_.jmp(functions_.front());
    return;
  }
  reload_fuel();
  a_.call(functions_.front());
  spill_fuel();
  if (pad) a_.add(x86::rsp, 8);
  for (size_t n = saved.size(); n-- > 0;) a_.pop(saved[n]);
  a_.ret();
}

void Emitter::unwind() {
  if (!unwinds_) return;
  a_.bind(unwind_);
  emit_unwinding(a_, mode_);
}

asmjit::Label& Emitter::unwinding() {
  unwinds_ = true;
  return unwind_;
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
  spill_fuel();
  a_.mov(x86::rsp, run_state(offsetof(RunState, native_stack)));
  a_.sub(x86::rsp, 8);  // aligned, as every way in aligns it
  a_.mov(x86::rdi, kCpu);
  move_immediate(x86::rsi, reinterpret_cast<uintptr_t>(&program_));
  call(reinterpret_cast<const void*>(&raise_fault));
  a_.jmp(unwinding());
}

asmjit::Label& Emitter::label_of(uint32_t index) {
  Label& label = labels_[index];
  if (!label.isValid()) label = a_.newLabel();
  return label;
}

// Whether a forward jump can be a short one.
bool Emitter::is_near(uint32_t from, uint32_t to) const {
  return to > from && size_bounds_[to] - size_bounds_[from + 1] <= 127;
}

asmjit::Label Emitter::fault(vm::FaultKind kind, uint32_t slot, unsigned size) {
  return fault_stubs_.emplace_back(a_.newLabel(), kind, slot, size).label;
}

void Emitter::call(const void* function) { branches_.call(function); }

void Emitter::move_immediate(const Gp& dst, uint64_t value) {
  const auto as_signed = static_cast<int64_t>(value);
  if (value == 0)
    a_.xor_(dst.r32(), dst.r32());
  else if (value <= std::numeric_limits<uint32_t>::max())
    a_.mov(dst.r32(), imm(static_cast<uint32_t>(value)));
  else
    a_.mov(dst.r64(), imm(as_signed));  // the assembler knows the form with 32 bits, sign-extended
}

// A verified program ends by itself.
void Emitter::charge(const Instruction& i) {
  if (checked() && i.cost != 0) take_fuel(imm(i.cost), i.slot);
}

void Emitter::take_fuel(const asmjit::Operand& amount, uint32_t slot) {
  if (checked())
    a_.emit(x86::Inst::kIdSub, kFuel, amount);
  else
    a_.emit(x86::Inst::kIdSub, run_state(offsetof(RunState, fuel)), amount);
  a_.js(fault(vm::FaultKind::kFuel, slot));
}

// Before C++ is called, which may change the register and look at the field, and before another use of the
// register.
void Emitter::spill_fuel() {
  if (checked()) a_.mov(run_state(offsetof(RunState, fuel)), kFuel);
}

void Emitter::reload_fuel() {
  if (checked()) a_.mov(kFuel, run_state(offsetof(RunState, fuel)));
}

}  // namespace skep::jit
