#include <vector>

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

void mark_reached(const Code& code, uint32_t from, std::vector<uint8_t>& reached) {
  std::vector<uint32_t> waiting{from};
  while (!waiting.empty()) {
    uint32_t n = waiting.back();
    waiting.pop_back();
    for (; reached[n] == 0; ++n) {
      reached[n] = 1;
      const LoweredInstruction& i = code.instructions[n];
      const unsigned has = traits::of(i.op);
      if ((has & (traits::kJumps | traits::kEndsFlow)) == 0) continue;
      if ((has & traits::kJumps) != 0 && reached[i.target] == 0) waiting.push_back(i.target);
      if ((has & traits::kEndsFlow) != 0) break;
    }
  }
}

}  // namespace

void drop_dead_code(Code& code) {
  std::vector<uint8_t> reached(code.instructions.size());
  for (const Code::Range& range : code.functions) mark_reached(code, range.begin, reached);
  std::vector<uint8_t> marks(code.instructions.size());
  bool dead = false;
  for (size_t n = 0; n < marks.size(); ++n) {
    const LoweredInstruction& i = code.instructions[n];
    const bool unread = is_pure(i.op) && (i.live_after & register_set(i.dst)) == 0;
    const bool idle = i.op == Operation::kMov64Reg && i.src == i.dst;
    if (reached[n] == 0 || unread || idle) marks[n] = 1;
    dead = dead || marks[n] != 0;
  }
  if (dead) remove_marked(code, marks);
}

}  // namespace skep::vm
