#include "jit/analysis.hpp"

#include <tuple>

#include "vm/helper_call.hpp"

namespace skep::jit {
namespace {

using isa::Class;
using isa::Op;
using vm::LoweredInstruction;

// The register that the instruction itself changes; calls are looked at apart.
RegisterSet written(const LoweredInstruction& i, const isa::Row& row) {
  switch (row.cls) {
    case Class::kAlu:
    case Class::kLoad:
    case Class::kLdImm:
      return register_bit(i.dst);
    case Class::kAtomic:
      return isa::fetches(row.atomic()) ? register_bit(i.src) : RegisterSet{0};
    case Class::kOrdered:
      return row.direction() == isa::Direction::kLoad ? register_bit(i.dst) : RegisterSet{0};
    case Class::kJump:
    case Class::kStore:
    case Class::kPacket:
    case Class::kControl:
      return 0;
  }
  return 0;
}

bool is_jump(const LoweredInstruction& i, const isa::Row& row) {
  return row.cls == Class::kJump || i.op == Op::kGoto || i.op == Op::kGotol || i.op == Op::kMayGoto;
}

void note_helper_call(FunctionFacts& f, const LoweredInstruction& i) {
  const auto& site = *reinterpret_cast<const vm::CallSite*>(i.imm);
  f.calls_cpp = true;
  f.uses_cpu = true;
  if (vm::may_call_back(site)) f.has_frame = true;
  if (!site.helper || site.helper->special != vm::Special::kTailCall) return;
  // What the target does is not known.
  f.tail_calls = true;
  f.has_frame = true;
  f.clobbers |= kCalleeSaved;
}

class Pass {
 public:
  Pass(const vm::Program& program, vm::Mode mode) : program_(program), mode_(mode) {}

  Analysis run() {
    out_.targets.resize(program_.code().size());
    for (const vm::Subprogram& function : program_.subprograms()) out_.functions.push_back(own(function));
    while (spread()) {
    }
    return std::move(out_);
  }

 private:
  FunctionFacts own(const vm::Subprogram& function) {
    FunctionFacts f;
    for (uint32_t n = function.begin; n < function.end; ++n) {
      const LoweredInstruction& i = program_.code()[n];
      const isa::Row& row = isa::row(i.op);
      f.names |= register_bit(i.dst) | register_bit(i.src);
      f.clobbers |= written(i, row) & kCalleeSaved;
      if (is_jump(i, row)) out_.targets[i.target] |= i.target > n ? Analysis::kForward : Analysis::kBackward;
      if (row.cls == Class::kPacket) f.calls_cpp = f.uses_cpu = true;
      if (i.op == Op::kCallHelper || i.op == Op::kCallReg) note_helper_call(f, i);
      if (i.op == Op::kCallLocal) f.callees.push_back(i.target);
    }
    // Checked code holds accesses against frames and regions, and counts.
    const bool checked = mode_ == vm::Mode::kChecked;
    f.has_frame |= checked || (f.names & register_bit(isa::kFramePointer)) != 0;
    f.uses_cpu |= checked;
    return f;
  }

  // One step of what callees do to their callers' facts; false: nothing new.
  bool spread() {
    bool changed = false;
    for (FunctionFacts& f : out_.functions) {
      for (const uint32_t callee : f.callees) changed |= spread(out_.functions[callee], f);
    }
    return changed;
  }
  static bool spread(const FunctionFacts& from, FunctionFacts& to) {
    const auto spread_facts = [](const FunctionFacts& f) {
      return std::tuple(f.names, f.clobbers, f.has_frame, f.calls_cpp, f.uses_cpu, f.tail_calls);
    };
    const auto before = spread_facts(to);
    to.names |= from.names;
    to.clobbers |= from.clobbers;
    to.has_frame |= from.has_frame;
    to.calls_cpp |= from.calls_cpp;
    to.uses_cpu |= from.uses_cpu;
    to.tail_calls |= from.tail_calls;
    return spread_facts(to) != before;
  }

  const vm::Program& program_;
  vm::Mode mode_;
  Analysis out_;
};

}  // namespace

Analysis analyse(const vm::Program& program, vm::Mode mode) { return Pass(program, mode).run(); }

}  // namespace skep::jit
