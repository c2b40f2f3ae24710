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
  Preparation(const Code& code, Mode mode, std::span<Step> steps, std::span<Lookup> lookups)
      : code_(code),
        mode_(mode),
        handlers_(known_handlers(mode)),
        steps_(steps),
        lookups_(lookups),
        second_steps_(steps.subspan(code.instructions.size())) {}

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
      step.off = distance(step, steps_[i.target]);
    return treatment;
  }

  static int32_t distance(const Step& from, const Step& to) {
    return static_cast<int32_t>(&to - &from) * static_cast<int32_t>(sizeof(Step));
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
    const KnownCall* known = code_.known_call(i);
    if (known && !admits_map(*known)) return make_known_call(site, *known, step);
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

  // A map that a program in checked mode looks up in another has to be admitted, which the helper does.
  bool admits_map(const KnownCall& known) const {
    return mode_ == Mode::kChecked && known.map && known.map->spec().inner != nullptr;
  }

  void make_known_call(const CallSite& site, const KnownCall& known, Step& step) {
    switch (site.helper->intrinsic) {
      case Intrinsic::kNone:
        return make_tail_call(site, known, step);
      case Intrinsic::kProcessorId:
        step.handler = handlers_.processor_id;
        return;
      case Intrinsic::kMapLookup:
        return make_lookup(site, known, step);
      case Intrinsic::kLoop:
        return make_loop(*known.callback, step);
    }
  }

  void make_tail_call(const CallSite& site, const KnownCall& known, Step& step) {
    const uint32_t entries = known.map->spec().max_entries;
    const auto* slots = known.map->object_slots();
    step.charge = {entries, site.slot};
    step.handler = handlers_.tail_call_indexed;
    if (known.index) {
      const bool inside = *known.index < entries;
      step.handler = inside ? handlers_.tail_call : handlers_.no_tail_call;
      if (inside) slots += *known.index;
    }
    step.imm = reinterpret_cast<uintptr_t>(slots);
  }

  void make_lookup(const CallSite& site, const KnownCall& known, Step& step) {
    const maps::MapSpec& spec = known.map->spec();
    const auto layout = known.map->array_layout();
    Lookup& lookup = lookups_[static_cast<size_t>(&known - code_.known_calls.data())];
    lookup = {.map = known.map,
              .function = known.map->lookup_function(),
              .layout = layout.value_or(maps::ArrayLayout{}),
              .site = &site,
              .entries = spec.max_entries,
              .key_size = spec.key_size,
              // Of a value with fields only a part may be touched.
              .value_size = spec.fields.empty() ? spec.value_size : 0,
              .writable = spec.program_may_write()};
    step.imm = reinterpret_cast<uintptr_t>(&lookup);
    step.helper = helper_entry(site, mode_);
    step.handler = layout ? handlers_.lookup_in_array : handlers_.lookup_by_function;
  }

  void make_loop(const Subprogram& callback, Step& step) {
    Step& second = second_steps_.front();
    second_steps_ = second_steps_.subspan(1);
    const uint32_t slot = callback.program->code()[callback.begin].slot;
    second = {.handler = handlers_.next_turn,
              .imm = reinterpret_cast<uintptr_t>(&steps_[code_.functions[callback.index].begin]),
              .off = distance(second, (&step)[1]),
              .dst = 0,
              .src = 0,
              .index = 0,
              .scale = 0,
              .charge = {callback.length(), slot}};
    step.handler = handlers_.begin_loop;
    step.imm = reinterpret_cast<uintptr_t>(&second);
  }

  const Code& code_;
  Mode mode_;
  const KnownHandlers& handlers_;
  std::span<Step> steps_;
  std::span<Lookup> lookups_;
  std::span<Step> second_steps_;  // those that are not taken yet
};

size_t count_steps(const Code& code) {
  const auto loops =
      std::ranges::count_if(code.known_calls, [](const KnownCall& known) { return known.callback; });
  return code.instructions.size() + static_cast<size_t>(loops);
}

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
      lookups_(code_.known_calls.size()),
      steps_(std::make_unique_for_overwrite<Step[]>(count_steps(code_))) {
  Preparation(code_, mode, std::span(steps_.get(), count_steps(code_)), lookups_).run();
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
