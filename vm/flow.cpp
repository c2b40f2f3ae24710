#include "vm/flow.hpp"

#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

constexpr RegisterSet kAll = 0x7ff;
constexpr RegisterSet kFrame = register_set(isa::kFramePointer);

// One sweep from a function's end to its beginning. True: a loop's head has changed, and those who jump back
// to it have to be looked at again.
bool sweep(Code& code, const Code::Range& range, std::vector<RegisterSet>& live_before) {
  bool again = false;
  RegisterSet live = 0;
  for (uint32_t n = range.end; n-- > range.begin;) {
    LoweredInstruction& i = code.instructions[n];
    if (ends_flow(i.op)) live = 0;
    if (is_jump(i.op)) live |= live_before[i.target];
    i.live_after = live | kFrame;
    const RegisterUse use = register_use(i);
    live = static_cast<RegisterSet>((live & ~use.writes) | use.reads);
    if (live_before[n] != live) {
      live_before[n] = live;
      again = true;
    }
  }
  return again;
}

bool has_backward_jump(const Code& code, const Code::Range& range) {
  for (uint32_t n = range.begin; n < range.end; ++n)
    if (is_jump(code.instructions[n].op) && code.instructions[n].target <= n) return true;
  return false;
}

}  // namespace

std::vector<uint8_t> jump_targets(const Code& code) {
  std::vector<uint8_t> out(code.instructions.size());
  for (const Code::Range& range : code.functions) out[range.begin] = 1;
  for (const LoweredInstruction& i : code.instructions)
    if (is_jump(i.op)) out[i.target] = 1;
  return out;
}

void find_live_registers(Code& code) {
  std::vector<RegisterSet> live_before(code.instructions.size());
  for (const Code::Range& range : code.functions) {
    const bool loops = has_backward_jump(code, range);
    unsigned sweeps = 0;
    while (sweep(code, range, live_before) && loops && ++sweeps < kMaxSweeps) {
    }
    if (sweeps < kMaxSweeps) continue;
    for (uint32_t n = range.begin; n < range.end; ++n) code.instructions[n].live_after = kAll;
  }
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
