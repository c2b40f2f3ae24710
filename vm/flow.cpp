#include "vm/flow.hpp"

#include <algorithm>

#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

constexpr RegisterSet kAll = 0x7ff;
constexpr RegisterSet kFrame = register_set(isa::kFramePointer);

// What a sweep looks at of an operation.
struct Place {
  RegisterUse use;
  RegisterSet live_before = 0;
  uint16_t traits = 0;
  uint32_t target = 0;
  uint32_t last_jump = 0;  // the last that jumps back here, + 1
};

class Liveness {
 public:
  Liveness(Code& code, bool dead_code_stays) : code_(code), places_(code.instructions.size()) {
    for (uint32_t n = 0; n < places_.size(); ++n) {
      const LoweredInstruction& i = code.instructions[n];
      Place& place = places_[n];
      place.use = register_use(i);
      place.traits = static_cast<uint16_t>(traits::of(i.op));
      if (dead_code_stays) place.traits &= static_cast<uint16_t>(~traits::kPure);
      place.target = i.target;
      if ((place.traits & traits::kJumps) != 0 && i.target <= n) places_[i.target].last_jump = n + 1;
    }
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
    RegisterSet live = from < range.end ? places_[from].live_before : RegisterSet{0};
    for (uint32_t n = from; n-- > range.begin;) {
      Place& place = places_[n];
      if ((place.traits & (traits::kEndsFlow | traits::kJumps)) != 0) {
        if ((place.traits & traits::kEndsFlow) != 0) live = 0;
        if ((place.traits & traits::kJumps) != 0) live |= places_[place.target].live_before;
      }
      code_.instructions[n].live_after = live | kFrame;
      // What nobody reads reads nothing, for it will go.
      const bool dead = (place.traits & traits::kPure) != 0 && (live & place.use.writes) == 0;
      if (!dead) live = static_cast<RegisterSet>((live & ~place.use.writes) | place.use.reads);
      if (place.live_before == live) continue;
      place.live_before = live;
      again = std::max(again, place.last_jump);
    }
    return again;
  }

  void give_up(const Code::Range& range) {
    for (uint32_t n = range.begin; n < range.end; ++n) code_.instructions[n].live_after = kAll;
  }

  Code& code_;
  std::vector<Place> places_;
};

}  // namespace

std::vector<uint8_t> jump_targets(const Code& code) {
  std::vector<uint8_t> out(code.instructions.size());
  for (const Code::Range& range : code.functions) out[range.begin] = 1;
  for (const LoweredInstruction& i : code.instructions)
    if (is_jump(i.op)) out[i.target] = 1;
  return out;
}

void find_live_registers(Code& code, bool dead_code_stays) {
  Liveness liveness(code, dead_code_stays);
  for (const Code::Range& range : code.functions) liveness.find(range);
}

void remove_marked(Code& code, const std::vector<uint8_t>& marks) {
  std::vector<uint32_t> moved(code.instructions.size() + 1);
  uint32_t kept = 0;
  for (uint32_t n = 0; n < code.instructions.size(); ++n) {
    moved[n] = kept;
    if (marks[n] != 0) continue;
    if (kept != n) code.instructions[kept] = code.instructions[n];
    ++kept;
  }
  moved.back() = kept;
  code.instructions.erase(code.instructions.begin() + kept, code.instructions.end());
  for (LoweredInstruction& i : code.instructions)
    if (is_jump(i.op)) i.target = moved[i.target];
  for (Code::Range& range : code.functions) range = {moved[range.begin], moved[range.end]};
}

}  // namespace skep::vm
