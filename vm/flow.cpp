#include "vm/flow.hpp"

#include <algorithm>

#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

constexpr RegisterSet kAll = 0x7ff;
constexpr RegisterSet kFrame = register_set(isa::kFramePointer);

class Liveness {
 public:
  explicit Liveness(Code& code)
      : code_(code), live_before_(code.instructions.size()), last_jump_(code.instructions.size()) {
    for (uint32_t n = 0; n < code.instructions.size(); ++n)
      if (is_jump(code.instructions[n].op) && code.instructions[n].target <= n)
        last_jump_[code.instructions[n].target] = n + 1;
  }

  void find(const Code::Range& range) {
    uint32_t from = range.end;
    for (unsigned sweeps = 0; from != 0; ++sweeps) {
      if (sweeps == kMaxSweeps) return give_up(range);
      from = sweep(range, from);
    }
  }

 private:
  // From before an operation up to the function's beginning. Returns where to begin again, since a loop's
  // head has changed and those who jump back to it have to be looked at again; 0: nowhere.
  uint32_t sweep(const Code::Range& range, uint32_t from) {
    uint32_t again = 0;
    RegisterSet live = from < range.end ? live_before_[from] : RegisterSet{0};
    for (uint32_t n = from; n-- > range.begin;) {
      LoweredInstruction& i = code_.instructions[n];
      if (ends_flow(i.op)) live = 0;
      if (is_jump(i.op)) live |= live_before_[i.target];
      i.live_after = live | kFrame;
      const RegisterUse use = register_use(i);
      live = static_cast<RegisterSet>((live & ~use.writes) | use.reads);
      if (live_before_[n] == live) continue;
      live_before_[n] = live;
      again = std::max(again, last_jump_[n]);
    }
    return again;
  }

  void give_up(const Code::Range& range) {
    for (uint32_t n = range.begin; n < range.end; ++n) code_.instructions[n].live_after = kAll;
  }

  Code& code_;
  std::vector<RegisterSet> live_before_;
  std::vector<uint32_t> last_jump_;  // the last that jumps back here, + 1
};

}  // namespace

std::vector<uint8_t> jump_targets(const Code& code) {
  std::vector<uint8_t> out(code.instructions.size());
  for (const Code::Range& range : code.functions) out[range.begin] = 1;
  for (const LoweredInstruction& i : code.instructions)
    if (is_jump(i.op)) out[i.target] = 1;
  return out;
}

void find_live_registers(Code& code) {
  Liveness liveness(code);
  for (const Code::Range& range : code.functions) liveness.find(range);
}

void remove_marked(Code& code, const std::vector<uint8_t>& marks) {
  std::vector<uint32_t> moved(code.instructions.size() + 1);
  uint32_t kept = 0;
  for (size_t n = 0; n < code.instructions.size(); ++n) {
    moved[n] = kept;
    if (marks[n] != 0) continue;
    code.instructions[kept++] = code.instructions[n];
  }
  moved.back() = kept;
  code.instructions.erase(code.instructions.begin() + kept, code.instructions.end());
  for (LoweredInstruction& i : code.instructions)
    if (is_jump(i.op)) i.target = moved[i.target];
  for (Code::Range& range : code.functions) range = {moved[range.begin], moved[range.end]};
}

}  // namespace skep::vm
