#include "fuzz/program_draft.hpp"

#include <algorithm>

namespace skep::fuzz {

using isa::Instruction;
using isa::Op;

// Turns what entry n aims at into an index.
void ProgramDraft::resolve(size_t function, size_t n) {
  Entry& entry = entries_[n];
  const auto [begin, end] = functions_[function];
  if (entry.kind == Target::kFunction) return resolve_function(function, entry);
  if (entry.kind != Target::kAim) return;
  const bool back = n >= end || entry.target % 100 < 15;
  const uint64_t aim = entry.target / 100;
  entry.target = back ? begin + aim % (n - begin + 1) : n + 1 + aim % std::min<size_t>(end - n, 12);
  entry.kind = Target::kIndex;
}

void ProgramDraft::resolve_function(size_t function, Entry& entry) {
  const size_t later = functions_.size() - function - 1;
  const uint64_t aim = entry.target / 100;
  const bool any = entry.target % 100 < 5 || (later == 0 && entry.i.op == Op::kLdFunc);
  if (!any && later == 0) {
    entry = {{Op::kNeg64, 0, 0, 0, 0, 0}, Target::kNone, 0};
    return;
  }
  const size_t callee = any ? aim % functions_.size() : function + 1 + aim % later;
  entry.kind = Target::kIndex;
  entry.target = functions_[callee].begin;
}

std::vector<Instruction> ProgramDraft::finish() {
  std::vector<uint32_t> slots;
  uint32_t slot = 0;
  for (size_t function = 0, n = 0; n < entries_.size(); ++n) {
    while (function + 1 < functions_.size() && functions_[function + 1].begin <= n) ++function;
    resolve(function, n);
    slots.push_back(slot);
    slot += entries_[n].i.slots();
  }
  std::vector<Instruction> out;
  for (size_t n = 0; n < entries_.size(); ++n) {
    Instruction i = entries_[n].i;
    i.slot = slots[n];
    if (entries_[n].kind == Target::kIndex) {
      const int64_t distance = int64_t{slots[entries_[n].target]} - int64_t{slots[n]} - 1;
      if (i.op == Op::kGotol || i.op == Op::kCallLocal)
        i.imm = distance;
      else if (i.op == Op::kLdFunc)
        i.imm = static_cast<uint32_t>(distance);
      else
        i.off = static_cast<int16_t>(distance);
    }
    out.push_back(i);
  }
  return out;
}

}  // namespace skep::fuzz
