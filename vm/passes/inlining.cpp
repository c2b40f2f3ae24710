#include <algorithm>
#include <optional>
#include <vector>

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

// The most operations of a function that is inlined: wherever it is called, or in the one place.
constexpr uint32_t kMaxLength = 24;
constexpr uint32_t kMaxLengthOnce = 200;

// The operation in a caller's frame, which is where the callee's would begin: nullopt if it cannot be moved
// there.
std::optional<LoweredInstruction> in_callers_frame(LoweredInstruction i) {
  if ((register_use(i).reads & register_set(isa::kFramePointer)) == 0) return i;
  if (is_fused(i.op)) return std::nullopt;
  const isa::Row& row = isa::row(isa_op(i.op));
  constexpr int32_t kFrame = kFrameSize;
  if (i.op == Operation::kMov64Reg) {
    i.op = Operation::kAddress64;
    i.off = kFrame;
    return i;
  }
  const bool load = row.cls == isa::Class::kLoad;
  if (!load && row.cls != isa::Class::kStore) return std::nullopt;
  if (!load && row.source == isa::Source::kReg && i.src == isa::kFramePointer) return std::nullopt;
  i.off += kFrame;
  return i;
}

// What can be said of a function before it is inlined.
struct Callee {
  bool movable = false;    // does nothing that needs a frame of its own
  RegisterSet writes = 0;  // of r6 to r9, which its caller finds as they were
  uint32_t calls = 0;      // how many there are of it
};

bool needs_own_frame(const LoweredInstruction& i) {
  using enum Operation;
  if (i.op == kCallLocal || i.op == kCallHelper || i.op == kCallReg || i.op == kCallKfunc) return true;
  if (i.op == kMayGoto) return true;  // counts its function's loops
  if (is_fused(i.op)) return !in_callers_frame(i);
  return isa::row(isa_op(i.op)).cls == isa::Class::kPacket || !in_callers_frame(i);
}

class Inlining {
 public:
  explicit Inlining(Code& code) : code_(code), callees_(code.functions.size()) {}

  // Inlines calls of functions that call none. True: a call has gone.
  bool run() {
    bool any = false;
    for (const LoweredInstruction& i : code_.instructions) {
      if (i.op != Operation::kCallLocal) continue;
      any = true;
      ++callees_[i.target].calls;
    }
    if (!any) return false;
    for (uint32_t f = 1; f < callees_.size(); ++f) look_at(f);
    find_live_registers(code_, true);
    if (!find_places()) return false;
    rebuild();
    return true;
  }

 private:
  uint32_t length(uint32_t function) const {
    return code_.functions[function].end - code_.functions[function].begin;
  }

  void look_at(uint32_t function) {
    constexpr RegisterSet kSaved = 0x3c0;
    Callee& callee = callees_[function];
    if (length(function) > (callee.calls == 1 ? kMaxLengthOnce : kMaxLength)) return;
    for (const LoweredInstruction& i : code_.function(function)) {
      if (needs_own_frame(i)) return;
      callee.writes = static_cast<RegisterSet>(callee.writes | (register_use(i).writes & kSaved));
    }
    callee.movable = true;
  }

  bool inlined(const LoweredInstruction& i) const {
    if (i.op != Operation::kCallLocal) return false;
    const Callee& callee = callees_[i.target];
    return callee.movable && (callee.writes & i.live_after) == 0;
  }

  // Where each operation, and what it becomes, will begin. False: nothing would change, or it would be too
  // much.
  bool find_places() {
    places_.resize(code_.instructions.size() + 1);
    const uint64_t most = 2 * code_.instructions.size() + 1024;
    uint32_t place = 0;
    bool any = false;
    for (uint32_t n = 0; n < code_.instructions.size(); ++n) {
      places_[n] = place;
      const LoweredInstruction& i = code_.instructions[n];
      const bool here = inlined(i);
      any = any || here;
      place += here ? length(i.target) : 1;
      if (place > most) return false;
    }
    places_.back() = place;
    return any;
  }

  void rebuild() {
    out_.reserve(places_.back());
    for (uint32_t n = 0; n < code_.instructions.size(); ++n) {
      LoweredInstruction i = code_.instructions[n];
      if (inlined(i)) {
        put_body(n, code_.functions[i.target]);
        continue;
      }
      if (is_jump(i.op)) i.target = places_[i.target];
      out_.push_back(i);
    }
    for (Code::Range& range : code_.functions) range = {places_[range.begin], places_[range.end]};
    code_.instructions = std::move(out_);
  }

  // Nothing in it can fault or costs fuel: its slot is the call's.
  void put_body(uint32_t call, const Code::Range& body) {
    const uint32_t begin = places_[call];
    const uint32_t slot = code_.instructions[call].slot;
    for (uint32_t n = body.begin; n < body.end; ++n) {
      LoweredInstruction i = *in_callers_frame(code_.instructions[n]);
      if (is_jump(i.op)) i.target = begin + (i.target - body.begin);
      if (i.op == Operation::kExit) i = {.op = Operation::kGoto, .target = places_[call + 1]};
      i.slot = slot;
      out_.push_back(i);
    }
  }

  Code& code_;
  std::vector<Callee> callees_;   // by function
  std::vector<uint32_t> places_;  // by operation
  std::vector<LoweredInstruction> out_;
};

// Leaves nothing but the exit of functions that nobody calls any more.
void empty_uncalled_functions(Code& code, const Lowered& lowered) {
  std::vector<uint8_t> called(code.functions.size());
  std::vector<uint32_t> waiting{0};
  for (size_t n = 0; n < lowered.decoded.size(); ++n)
    if (lowered.decoded[n].op == isa::Op::kLdFunc) waiting.push_back(lowered.code[n].target);
  while (!waiting.empty()) {
    const uint32_t f = waiting.back();
    waiting.pop_back();
    if (called[f] != 0) continue;
    called[f] = 1;
    for (const LoweredInstruction& i : code.function(f))
      if (i.op == Operation::kCallLocal) waiting.push_back(i.target);
  }
  std::vector<uint8_t> marks(code.instructions.size());
  for (uint32_t f = 0; f < code.functions.size(); ++f) {
    if (called[f] != 0) continue;
    const auto [begin, end] = code.functions[f];
    std::fill(marks.begin() + begin, marks.begin() + end - 1, uint8_t{1});
    code.instructions[end - 1] = {.op = Operation::kExit, .slot = code.instructions[end - 1].slot};
  }
  remove_marked(code, marks);
}

}  // namespace

void inline_functions(Code& code, const Lowered& lowered) {
  if (code.functions.size() == 1) return;
  constexpr unsigned kRounds = 3;  // what calls only what is inlined can be inlined too
  bool any = false;
  for (unsigned round = 0; round < kRounds && Inlining(code).run(); ++round) any = true;
  if (any) empty_uncalled_functions(code, lowered);
}

}  // namespace skep::vm
