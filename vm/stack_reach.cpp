#include "vm/stack_reach.hpp"

#include <algorithm>
#include <map>
#include <vector>

#include "vm/lowering.hpp"

namespace skep::vm {
namespace {

using isa::Class;
using isa::Instruction;
using isa::Op;

bool may_write_memory(const Instruction& i) {
  const Class cls = isa::row(i.op).cls;
  return cls == Class::kStore || cls == Class::kAtomic || cls == Class::kOrdered || i.op == Op::kCallHelper ||
         i.op == Op::kCallReg;
}

// The functions a function calls, by the slots they begin at.
using CallGraph = std::map<int64_t, std::vector<int64_t>>;

CallGraph call_graph(std::span<const Instruction> program) {
  CallGraph graph;
  graph[0];
  for (const Instruction& i : program)
    if (i.op == Op::kCallLocal) graph[i.target_slot()];
  for (const Instruction& i : program)
    if (i.op == Op::kCallLocal) std::prev(graph.upper_bound(i.slot))->second.push_back(i.target_slot());
  return graph;
}

// Frames of the deepest chain of calls that begins in a function; kMaxFrames bounds recursion. A function's
// depth is kept once it is known, so that the work is bounded, too.
unsigned depth(const CallGraph& graph, int64_t function, unsigned frames_left,
               std::map<std::pair<int64_t, unsigned>, unsigned>& known) {
  if (frames_left == 0) return 0;
  const auto [at, fresh] = known.try_emplace({function, frames_left}, 0);
  if (!fresh) return at->second;
  unsigned below = 0;
  for (const int64_t callee : graph.at(function))
    below = std::max(below, depth(graph, callee, frames_left - 1, known));
  return at->second = below + 1;
}

}  // namespace

uint64_t stack_reach(std::span<const Instruction> program) {
  if (std::ranges::none_of(program, may_write_memory)) return 0;
  const auto calls = [](const Instruction& i) { return i.op == Op::kCallLocal; };
  if (std::ranges::none_of(program, calls)) return kFrameSize;
  std::map<std::pair<int64_t, unsigned>, unsigned> known;
  return uint64_t{depth(call_graph(program), 0, kMaxFrames, known)} * kFrameSize;
}

}  // namespace skep::vm
