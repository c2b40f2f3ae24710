#include "vm/interpreter/prepared.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "vm/helper_call.hpp"
#include "vm/interpreter.hpp"
#include "vm/interpreter/control.hpp"
#include "vm/interpreter/handlers.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace interpreter {
namespace {

bool is_helper_call(Operation op) { return op == Operation::kCallHelper || op == Operation::kCallReg; }

// Every frame has its own bytes below r10, which no program can change.
bool inside_frame(const LoweredInstruction& i, const AccessKind& access) {
  const unsigned base = access.write ? i.dst : i.src;
  return base == isa::kFramePointer && i.index == kZeroRegister && i.off >= -static_cast<int>(kFrameSize) &&
         i.off <= -static_cast<int>(access.bytes) &&
         (!access.aligned || i.off % static_cast<int>(access.bytes) == 0);
}

// Makes the steps of a program.
class Preparation {
 public:
  Preparation(const Code& code, Mode mode, std::span<Step> steps) : code_(code), mode_(mode), steps_(steps) {}

  void run() {
    const std::span instructions(code_.instructions);
    // How many handlers lead from here to the next jump that is taken, at least; and from the step after it.
    uint32_t after = 0;
    uint32_t after_next = 0;
    Treatment next{};
    for (size_t n = instructions.size(); n-- > 0;) {
      const Treatment here = make_step(instructions[n], steps_[n]);
      Handler pair = nullptr;
      if (n + 1 < instructions.size() && after_next <= after) pair = pair_handler(here, next);
      if (pair) steps_[n].handler = pair;
      const uint32_t length = ends_flow(here.op) ? 1 : 1 + (pair ? after_next : after);
      after_next = std::exchange(after, length);
      next = here;
    }
  }

 private:
  Treatment make_step(const LoweredInstruction& i, Step& step) {
    const Treatment treatment{simplified(i.op), needs_checks(i)};
    step = {.handler = handler(treatment),
            .imm = i.op == Operation::kMov32Imm ? static_cast<uint32_t>(i.imm) : i.imm,
            .off = i.off,
            .dst = i.dst,
            .src = i.src,
            .index = i.index,
            .scale = i.scale,
            .charge = {i.cost, i.slot}};
    if (is_helper_call(i.op))
      make_helper_call(i, step);
    else if (i.op == Operation::kCallLocal)
      step.imm = reinterpret_cast<uintptr_t>(&steps_[code_.functions[i.target].begin]);
    else if (is_jump(i.op))
      step.off = static_cast<int32_t>(&steps_[i.target] - &step) * static_cast<int32_t>(sizeof(Step));
    return treatment;
  }

  // One operation for all constants.
  static Operation simplified(Operation op) {
    return op == Operation::kMov64Imm || op == Operation::kMov32Imm ? Operation::kLdImm64 : op;
  }

  bool needs_checks(const LoweredInstruction& i) const {
    if (mode_ == Mode::kVerified) return false;
    if (is_jump(i.op)) return i.cost != 0;
    const AccessKind access = access_kind(i.op);
    return access.bytes == 0 || !inside_frame(i, access);
  }

  void make_helper_call(const LoweredInstruction& i, Step& step) {
    const auto& site = *reinterpret_cast<const CallSite*>(i.imm);
    if (site.helper && site.helper->special == Special::kTailCall) {
      step.handler = mode_ == Mode::kChecked ? tail_call<Mode::kChecked> : tail_call<Mode::kVerified>;
      return;
    }
    step.helper = helper_entry(site, mode_);
    if (mode_ == Mode::kChecked)
      step.handler = call_helper_checked;
    else if (!may_call_back(site) && !entry_reads_call_site(site, mode_))
      step.handler = call_helper;
  }

  const Code& code_;
  Mode mode_;
  std::span<Step> steps_;
};

template <Mode mode>
uint64_t call_at(const Step* step, Cpu& cpu, const Arguments& arguments) {
  Activation a;
  a.begin<mode>(cpu.frame_top);
  // A callback mostly gets a pointer to its caller's stack.
  if constexpr (mode == Mode::kChecked) a.open_windows({cpu.stack_begin, cpu.frame_top - cpu.stack_begin});
  std::ranges::copy(arguments, a.r.begin() + 1);
  execute(step, a, cpu);
  return a.r[0];
}

template <Mode mode>
uint64_t enter(uint64_t r1, uint64_t r2, Cpu& cpu) {
  Activation a;
  a.begin<mode>(cpu.frame_top);
  a.r[1] = r1;
  a.r[2] = r2;
  execute(first_step<mode>(*cpu.program), a, cpu);
  return a.r[0];
}

}  // namespace

Prepared::Prepared(const Program& program, Mode mode)
    : code_(program.optimized(mode)),
      mode_(mode),
      steps_(std::make_unique_for_overwrite<Step[]>(code_.instructions.size())) {
  Preparation(code_, mode, std::span(steps_.get(), code_.instructions.size())).run();
}

uint64_t Prepared::call(Cpu& cpu, const Subprogram& function, const Arguments& arguments) const {
  const Step* step = &steps_[code_.functions[function.index].begin];
  return mode_ == Mode::kChecked ? call_at<Mode::kChecked>(step, cpu, arguments)
                                 : call_at<Mode::kVerified>(step, cpu, arguments);
}

EntryFunction Prepared::entry() const {
  return mode_ == Mode::kChecked ? enter<Mode::kChecked> : enter<Mode::kVerified>;
}

}  // namespace interpreter

namespace {

class Interpreter final : public Engine {
 public:
  std::unique_ptr<Executable> prepare(const Program& program, Mode mode) const override {
    return std::make_unique<interpreter::Prepared>(program, mode);
  }
};

}  // namespace

std::unique_ptr<Engine> make_interpreter() { return std::make_unique<Interpreter>(); }

}  // namespace skep::vm
