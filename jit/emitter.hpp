#pragma once

#include <asmjit/x86.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "jit/access_checks.hpp"
#include "jit/analysis.hpp"
#include "jit/indirect_branches.hpp"
#include "jit/native_program.hpp"
#include "jit/registers.hpp"
#include "jit/shared_code.hpp"
#include "vm/division.hpp"
#include "vm/lowering.hpp"
#include "vm/program.hpp"
#include "vm/random.hpp"

namespace skep::jit {

// Translates one program. Its functions are calls and returns of the native stack; a native frame has the
// loops that may_goto has left and those of r6 to r9 that have to outlive local calls: a caller saves what
// its callees change, so that a tail call is a jump. Functions that call C++ functions keep the stack aligned
// for that wherever an instruction begins. kFrame and kCpu are set where a function, or one it calls, looks
// at them.
class Emitter {
 public:
  Emitter(const vm::Program& program, vm::Mode mode, const Translating& options, const SharedCode& shared,
          asmjit::CodeHolder& code);

  void emit();  // once; errors go to the code holder's handler
  CodeLayout layout() const;

 private:
  using Instruction = vm::LoweredInstruction;
  using Label = asmjit::Label;
  using Mem = asmjit::x86::Mem;

  struct FaultStub {
    Label label;
    vm::FaultKind kind;
    uint32_t slot;
    unsigned size;  // misaligned: of the access whose address is in kAddress
  };

  bool checked() const { return mode_ == vm::Mode::kChecked; }

  // emitter.cpp
  std::vector<uint32_t> instruction_offsets() const;
  void function(const vm::Subprogram& function);
  void lay_out_frame(const vm::Subprogram& function);
  void align_loop_head();
  void instruction(const Instruction& i);
  void control(const Instruction& i);
  void entry();
  void fault_stubs();
  void unwind();
  uint32_t index_of(const Instruction& i) const { return static_cast<uint32_t>(&i - operations_.data()); }
  Label& label_of(uint32_t index);
  bool is_near(uint32_t from, uint32_t to) const;
  Label& unwinding();
  Label fault(vm::FaultKind kind, uint32_t slot, unsigned size = 0);
  void call(const void* function);
  void move_immediate(const Gp& dst, uint64_t value);
  void charge(const Instruction& i);
  void spill_fuel();
  void reload_fuel();
  void take_fuel(const asmjit::Operand& amount, uint32_t slot);

  // emit_constant.cpp
  void program_constant(const Gp& dst, uint64_t value);
  asmjit::Operand constant(int32_t value, unsigned width, const Gp& temporary);
  void store_constant(const Mem& to, int64_t value);
  void multiply_by_constant(const Gp& dst, const Gp& src, int32_t factor);

  // emit_arithmetic.cpp
  void arithmetic(const Instruction& i, const isa::Row& row);
  void binary(const Instruction& i, const isa::Row& row);
  void multiply(const Instruction& i, const isa::Row& row);
  void multiply_by(const Gp& dst, const Gp& src, int32_t factor);
  void shift(const Instruction& i, const isa::Row& row);
  void shift_by_immediate(isa::AluOp op, const Instruction& i, unsigned width);
  void shift_by_register(isa::AluOp op, const Gp& dst, const Gp& count);
  void shift_to(isa::AluOp op, const Gp& dst, const Gp& src, const Gp& count);
  void move(const Instruction& i, const isa::Row& row);

  // emit_division.cpp
  void divide(const Instruction& i, const isa::Row& row);
  void divide_unsigned(isa::AluOp op, unsigned width, const Label& done);
  void divide_signed(isa::AluOp op, unsigned width, const Label& done);
  void divide_by_magic(const Instruction& i, const vm::FusedRow& row);
  void quotient_unsigned32(const Gp& src, uint32_t divisor, const vm::Magic& magic);
  void quotient_unsigned64(const Gp& src, const vm::Magic& magic);
  void quotient_signed(const Gp& src, unsigned width, const vm::Magic& magic, int32_t divisor);
  void multiply_quotient(uint64_t multiplier);
  void high_product(const Gp& src, unsigned width, uint64_t multiplier);
  void high_product_signed(const Gp& src, uint64_t multiplier);
  void take_high_half();

  // emit_fused.cpp
  void fused(const Instruction& i);
  void three_operands(const Instruction& i, const vm::FusedRow& row);
  void address(const Instruction& i, unsigned width);
  void rotate(const Instruction& i, unsigned width);
  void swap_bytes(const Gp& reg, unsigned width);
  void load_swapped(const Instruction& i, unsigned width);
  void store_swapped(const Instruction& i, unsigned width);
  void select(const Instruction& i, const vm::FusedRow& row, isa::Condition condition, bool negated);

  // emit_jump.cpp
  void conditional_jump(const Instruction& i, isa::Condition condition, unsigned width, isa::Source source,
                        bool negated = false);
  void compare(const Instruction& i, isa::Condition condition, unsigned width, isa::Source source);
  void test_mask(const Instruction& i, unsigned width);
  bool compared_before(const Instruction& i) const;
  void jump(const Instruction& i);
  void may_goto(const Instruction& i);

  // emit_memory.cpp
  Mem checked_access(unsigned base, const Instruction& i, unsigned bytes, bool write);
  Mem checked_aligned_access(unsigned base, const Instruction& i, unsigned bytes, bool write);
  void load(const Instruction& i, const isa::Row& row);
  void load_from(const Gp& dst, const Mem& from, bool is_signed);
  void store(const Instruction& i, const isa::Row& row);
  void store_to(const Mem& to, const Instruction& i, isa::Source source);
  void atomic(const Instruction& i, const isa::Row& row);
  void fetch_by_loop(asmjit::x86::Inst::Id id, const Instruction& i, unsigned width, const Mem& at);
  void ordered(const Instruction& i, const isa::Row& row);

  // emit_call.cpp
  void note_call(uint32_t slot);
  void local_call(const Instruction& i);
  void helper_call(const Instruction& i);
  void ordinary_call(const Instruction& i);
  void tail_call(const vm::CallSite& site);
  void packet_load(const Instruction& i, const isa::Row& row);
  void leave();
  RegisterSet saved_across(const LocalCall& call) const;
  Mem save_slot(unsigned reg) const;
  void save_registers(RegisterSet set);
  void restore_registers(RegisterSet set);
  void back_in_program();
  void clear_arguments();

  // emit_known_call.cpp
  void known_call(const Instruction& i, const vm::KnownCall& known);
  void known_tail_call(const vm::CallSite& site, const vm::KnownCall& known);
  void load_holder(const vm::KnownCall& known, const Label& go_on);
  void count_tail_call(const Label& go_on);
  void enter_target();
  void lookup(const Instruction& i, maps::Map& map);
  void array_lookup(const maps::Map& map, const maps::ArrayLayout& layout, const Label& done);
  void check_key(const Instruction& i, uint32_t size, const Label& done);
  void note_value(const maps::Map& map);
  void forget_values();
  void loop(const LocalCall& call);
  void loop_body(const LocalCall& call);
  void walk(const Instruction& i, const vm::KnownCall& known);
  void walk_by_steps(const LocalCall& call, maps::Map& map);
  void walk_array(const LocalCall& call, const maps::Map& map, const maps::ArrayLayout& layout);
  void enter_callback(const LocalCall& call, const std::function<void()>& set_arguments);
  void out_of_line(const Label& label, std::function<void()> emit);
  Mem loop_slot(unsigned word) const;

  const vm::Program& program_;
  vm::Mode mode_;
  Translating options_;
  const vm::Code& optimized_;
  std::span<const Instruction> operations_;
  asmjit::CodeHolder& code_;
  asmjit::x86::Assembler a_;
  IndirectBranches branches_;
  vm::Random random_;  // for blinding
  Analysis analysis_;

  std::vector<Label> functions_;
  std::vector<Label> labels_;          // of instructions that are jumped to
  std::vector<uint32_t> size_bounds_;  // of the code before an instruction, never too small
  std::vector<uint32_t> offsets_;      // of each operation
  uint32_t end_of_functions_ = 0;
  std::vector<FaultStub> fault_stubs_;
  AccessChecks checks_;
  std::vector<std::pair<Label, std::function<void()>>> out_of_line_;  // of the function being emitted
  Label entry_;
  Label unwind_;  // the run is over: back to C++ with r0 = 0
  bool unwinds_ = false;

  // Of the function being emitted.
  uint32_t current_ = 0;  // the operation
  const FunctionFacts* facts_ = nullptr;
  int32_t frame_bytes_ = 0;
  int32_t caches_at_ = 0;  // the regions kept, in the frame
  RegisterSet saved_ = 0;  // have a place in the frame
  Label return_zero_;      // ends the function with r0 = 0
  bool returns_zero_ = false;
};

// The immediate's 32 bits, which the machine sign-extends in every width.
int32_t immediate(const vm::LoweredInstruction& i);
// Of add, sub, or, and, xor.
asmjit::x86::Inst::Id binary_instruction(isa::AluOp op);
asmjit::x86::CondCode condition_code(isa::Condition condition);
// The memory at base + (index << scale) + off of an operation.
asmjit::x86::Mem memory(unsigned base, const vm::LoweredInstruction& i, unsigned bytes);

}  // namespace skep::jit
