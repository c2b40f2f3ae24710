#include "jit/analysis.hpp"

#include <tuple>

#include "vm/helper_call.hpp"
#include "vm/register_use.hpp"

namespace skep::jit {
namespace {

using vm::LoweredInstruction;
using vm::Operation;

bool is_packet_load(Operation op) {
  return !vm::is_fused(op) && isa::row(vm::isa_op(op)).cls == isa::Class::kPacket;
}

void note_helper_call(FunctionFacts& f, const LoweredInstruction& i) {
  const auto& site = *reinterpret_cast<const vm::CallSite*>(i.imm);
  f.names |= kArguments;  // the helper reads what it likes
  f.calls_cpp = true;
  f.uses_cpu = true;
  if (vm::may_call_back(site)) f.has_frame = true;
  if (!site.helper || site.helper->special != vm::Special::kTailCall) return;
  // What the target does is not known.
  f.tail_calls = true;
  f.has_frame = true;
  f.clobbers |= kCalleeSaved;
}

class FactFinder {
 public:
  FactFinder(const vm::Program& program, vm::Mode mode)
      : program_(program), code_(program.optimized(mode)), mode_(mode) {}

  Analysis run() {
    out_.targets.resize(code_.instructions.size());
    for (const vm::Subprogram& function : program_.subprograms()) out_.functions.push_back(own(function));
    while (spread()) {
    }
    return std::move(out_);
  }

 private:
  FunctionFacts own(const vm::Subprogram& function) {
    FunctionFacts f;
    const auto [begin, end] = code_.functions[function.index];
    for (uint32_t n = begin; n < end; ++n) {
      const LoweredInstruction& i = code_.instructions[n];
      const vm::RegisterUse use = vm::register_use(i);
      if (i.op == Operation::kCallLocal) {
        f.calls.push_back({i.target, i.live_after});
        continue;
      }
      f.names |= use.reads | use.writes;
      f.clobbers |= use.writes & kCalleeSaved;
      if (vm::is_jump(i.op))
        out_.targets[i.target] |= i.target > n ? Analysis::kForward : Analysis::kBackward;
      if (is_packet_load(i.op)) f.calls_cpp = f.uses_cpu = true;
      if (i.op == Operation::kCallHelper || i.op == Operation::kCallReg) note_helper_call(f, i);
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
      for (const LocalCall& call : f.calls) changed |= spread(out_.functions[call.callee], f);
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
  const vm::Code& code_;
  vm::Mode mode_;
  Analysis out_;
};

}  // namespace

Analysis analyse(const vm::Program& program, vm::Mode mode) { return FactFinder(program, mode).run(); }

}  // namespace skep::jit
