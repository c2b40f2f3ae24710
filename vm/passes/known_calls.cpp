#include <algorithm>
#include <array>
#include <optional>

#include "vm/flow.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

// Walks through the operations and keeps which registers hold a constant, one basic block at a time:
// compilers load maps and functions right before the call.
class CallFinder {
 public:
  CallFinder(Code& code, const Lowered& lowered)
      : code_(code),
        lowered_(lowered),
        targets_(jump_targets(code)),
        has_locks_(std::ranges::any_of(lowered.maps, [](const auto& map) {
          return map->spec().fields.has(maps::FieldKind::kSpinLock);
        })) {}

  void run() {
    for (uint32_t n = 0; n < code_.instructions.size(); ++n) {
      if (targets_[n] != 0) constants_.fill(std::nullopt);
      LoweredInstruction& i = code_.instructions[n];
      if (i.op == Operation::kCallHelper) note(i);
      pass(i);
    }
  }

 private:
  void pass(const LoweredInstruction& i) {
    std::optional<uint64_t> moved;
    if (i.op == Operation::kLdImm64) moved = i.imm;
    if (i.op == Operation::kMov64Imm) moved = i.imm;
    if (i.op == Operation::kMov32Imm) moved = static_cast<uint32_t>(i.imm);
    if (i.op == Operation::kMov64Reg) moved = constants_[i.src];
    const RegisterUse use = register_use(i);
    for (size_t reg = 0; reg < constants_.size(); ++reg)
      if ((use.writes & register_set(static_cast<unsigned>(reg))) != 0) constants_[reg] = std::nullopt;
    if (moved) constants_[i.dst] = moved;
  }

  void note(LoweredInstruction& i) {
    const auto& site = *reinterpret_cast<const CallSite*>(i.imm);
    const auto known = of(*site.helper);
    if (!known) return;
    code_.known_calls.push_back(*known);
    i.target = static_cast<uint32_t>(code_.known_calls.size());
  }

  std::optional<KnownCall> of(const HelperRow& helper) const {
    if (helper.special == Special::kTailCall) {
      maps::Map* map = map_in(2);
      // Whether a lock is held is asked on the ordinary way.
      if (has_locks_ || !map || map->spec().type != BPF_MAP_TYPE_PROG_ARRAY || !map->object_slots())
        return std::nullopt;
      const auto& index = constants_[3];
      return KnownCall{.map = map,
                       .index = index ? std::optional(static_cast<uint32_t>(*index)) : std::nullopt};
    }
    switch (helper.intrinsic) {
      case Intrinsic::kNone:
        break;
      case Intrinsic::kProcessorId:
        return KnownCall{};
      case Intrinsic::kMapLookup: {
        maps::Map* map = map_in(1);
        if (!map || !map->spec().program_may_read() || (!map->array_layout() && !map->lookup_function()))
          break;
        return KnownCall{.map = map, .index = {}};
      }
      case Intrinsic::kLoop:
        if (const Subprogram* callback = function_in(2)) return KnownCall{.index = {}, .callback = callback};
        break;
      case Intrinsic::kWalk: {
        maps::Map* map = map_in(1);
        const Subprogram* callback = function_in(2);
        if (!map || !map->step_function() || !callback) break;
        return KnownCall{.map = map, .index = {}, .callback = callback};
      }
    }
    return std::nullopt;
  }

  maps::Map* map_in(size_t reg) const {
    for (const auto& map : lowered_.maps)
      if (constants_[reg] == reinterpret_cast<uintptr_t>(map.get())) return map.get();
    return nullptr;
  }
  const Subprogram* function_in(size_t reg) const {
    for (const Subprogram& function : lowered_.subprograms)
      if (constants_[reg] == reinterpret_cast<uintptr_t>(&function)) return &function;
    return nullptr;
  }

  Code& code_;
  const Lowered& lowered_;
  std::vector<uint8_t> targets_;
  bool has_locks_;  // the program may take some
  std::array<std::optional<uint64_t>, kOperandRegisters> constants_{};
};

}  // namespace

void find_known_calls(Code& code, const Lowered& lowered) { CallFinder(code, lowered).run(); }

}  // namespace skep::vm
