#include "jit/analysis.hpp"

#include <algorithm>
#include <limits>
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
  if (vm::may_move_packet(site)) f.moves_packet = true;
  if (!site.helper || site.helper->special != vm::Special::kTailCall) return;
  // What the target does is not known.
  f.tail_calls = true;
  f.moves_packet = true;
  f.has_frame = true;
  f.clobbers |= kCalleeSaved;
}

class FactFinder {
 public:
  FactFinder(const vm::Program& program, vm::Mode mode)
      : program_(program), code_(program.optimized(mode)), mode_(mode) {}

  Analysis run() {
    const bool checked = mode_ == vm::Mode::kChecked;
    out_.targets.resize(code_.instructions.size());
    if (checked) out_.accesses.resize(out_.targets.size());
    for (const vm::Subprogram& function : program_.subprograms()) out_.functions.push_back(own(function));
    for (const uint32_t callback : callbacks_) out_.functions[callback].fresh_registers = checked;
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
      if (i.op == Operation::kCallHelper || i.op == Operation::kCallReg) call(f, i);
    }
    // Checked code holds accesses against frames and regions, and counts.
    const bool checked = mode_ == vm::Mode::kChecked;
    f.has_frame |= checked || (f.names & register_bit(isa::kFramePointer)) != 0;
    f.uses_cpu |= checked;
    // Frames are counted by r10.
    if (program_.notes_calls()) f.has_frame = f.uses_cpu = true;
    if (checked)
      f.caches = plan_accesses(program_, code_.function(function.index),
                               std::span(out_.accesses).subspan(begin, end - begin));
    return f;
  }

  void call(FunctionFacts& f, const LoweredInstruction& i) {
    const vm::KnownCall* known = code_.known_call(i);
    if (!known) return note_helper_call(f, i);
    const bool checked = mode_ == vm::Mode::kChecked;
    switch (reinterpret_cast<const vm::CallSite*>(i.imm)->helper->intrinsic) {
      case vm::Intrinsic::kNone:
        return note_helper_call(f, i);
      case vm::Intrinsic::kProcessorId:
        f.uses_cpu = true;
        return;
      case vm::Intrinsic::kMapLookup:
        f.names |= kArguments;
        f.uses_cpu = true;
        f.calls_cpp |= checked || !inlined_layout(*known->map);
        return;
      case vm::Intrinsic::kLoop:
        f.names |= kArguments;
        f.has_frame = f.uses_cpu = true;
        f.loop_words = std::max(f.loop_words, kLoopWords);
        f.calls.push_back({known->callback->index, i.live_after});
        callbacks_.push_back(known->callback->index);
        return;
      case vm::Intrinsic::kWalk:
        if (checked) return note_helper_call(f, i);
        f.names |= kArguments;
        f.has_frame = f.uses_cpu = true;
        f.calls_cpp |= !inlined_layout(*known->map);
        f.loop_words = std::max(f.loop_words, kWalkWords);
        f.calls.push_back({known->callback->index, i.live_after});
        return;
    }
  }

  // One step of what callees do to their callers' facts; false: nothing new.
  bool spread() {
    bool changed = false;
    for (FunctionFacts& f : out_.functions) {
      for (const LocalCall& call : f.calls) changed |= spread(out_.functions[call.callee], f);
      if (!f.fresh_registers) continue;
      const RegisterSet before = f.clobbers;
      f.clobbers |= f.names & kCalleeSaved;
      changed |= f.clobbers != before;
    }
    return changed;
  }
  static bool spread(const FunctionFacts& from, FunctionFacts& to) {
    const auto spread_facts = [](const FunctionFacts& f) {
      return std::tuple(f.names, f.clobbers, f.has_frame, f.calls_cpp, f.uses_cpu, f.tail_calls,
                        f.moves_packet);
    };
    const auto before = spread_facts(to);
    to.names |= from.names;
    to.clobbers |= from.clobbers;
    to.has_frame |= from.has_frame;
    to.calls_cpp |= from.calls_cpp;
    to.uses_cpu |= from.uses_cpu;
    to.tail_calls |= from.tail_calls;
    to.moves_packet |= from.moves_packet;
    return spread_facts(to) != before;
  }

  const vm::Program& program_;
  const vm::Code& code_;
  vm::Mode mode_;
  std::vector<uint32_t> callbacks_;
  Analysis out_;
};

}  // namespace

std::optional<maps::ArrayLayout> inlined_layout(const maps::Map& map) {
  const auto layout = map.array_layout();
  const auto fits = [](size_t bytes) { return bytes <= std::numeric_limits<int32_t>::max(); };
  return layout && fits(layout->element_size) && fits(layout->cpu_stride) ? layout : std::nullopt;
}

Analysis analyse(const vm::Program& program, vm::Mode mode) { return FactFinder(program, mode).run(); }

}  // namespace skep::jit
