#include "vm/map_arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>

#include "vm/flow.hpp"
#include "vm/memory_access.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

using isa::Class;

// Walks through the operations and keeps which registers hold an address that an instruction loaded, one
// basic block at a time.
class Walk {
 public:
  Walk(Code& code, const Lowered& lowered) : code_(code), lowered_(lowered), targets_(jump_targets(code)) {}

  // The first call that is to be refused.
  std::optional<std::string> find_refused() {
    std::optional<std::string> found;
    each([&](const LoweredInstruction& i) {
      if (!found && i.op == Operation::kCallHelper) found = refusal(i);
    });
    return found;
  }

  // Makes constants of what is loaded from maps that nobody writes to any more.
  void fold_constant_loads() {
    each([&](LoweredInstruction& i) {
      if (is_fused(i.op)) return;
      const isa::Row& row = isa::row(isa_op(i.op));
      if (row.cls != Class::kLoad || !addresses_[i.src]) return;
      const uint64_t address = *addresses_[i.src] + static_cast<uint64_t>(int64_t{i.off});
      if (!is_constant(address, row.width / 8U)) return;
      i.imm = value_at(address, row);
      i.op = Operation::kLdImm64;
    });
  }

 private:
  template <class Look>
  void each(const Look& look) {
    for (uint32_t n = 0; n < code_.instructions.size(); ++n) {
      if (targets_[n] != 0) addresses_.fill(std::nullopt);
      LoweredInstruction& i = code_.instructions[n];
      look(i);
      pass(i);
    }
  }

  void pass(const LoweredInstruction& i) {
    std::optional<uint64_t> moved;
    if (i.op == Operation::kLdImm64) moved = i.imm;
    if (i.op == Operation::kMov64Reg) moved = addresses_[i.src];
    const RegisterUse use = register_use(i);
    for (size_t reg = 0; reg < addresses_.size(); ++reg)
      if ((use.writes & register_set(static_cast<unsigned>(reg))) != 0) addresses_[reg] = std::nullopt;
    if (moved) addresses_[i.dst] = moved;
  }

  std::optional<std::string> refusal(const LoweredInstruction& i) const {
    const auto& site = *reinterpret_cast<const CallSite*>(i.imm);
    const HelperRow& helper = *site.helper;
    for (size_t n = 0; n < helper.arguments.size(); ++n) {
      const auto& address = addresses_[n + 1];
      if (helper.arguments[n] != Argument::kMap || !address) continue;
      for (const auto& map : lowered_.maps)
        if (*address == reinterpret_cast<uintptr_t>(map.get()) && !maps::admits_helper(*map, helper.id))
          return fmt::format("insn {}: cannot pass map_type {} into func bpf_{}#{}", site.slot,
                             map->spec().type, helper.name, helper.id);
    }
    return std::nullopt;
  }

  bool is_constant(uint64_t address, uint64_t size) const {
    return std::ranges::any_of(lowered_.maps, [&](const auto& map) {
      if (map->spec().program_may_write() || !map->frozen()) return false;
      const maps::MemoryRange value = map->value_containing(address);
      return value.size != 0 && address - value.begin + size <= value.size;
    });
  }

  static uint64_t value_at(uint64_t address, const isa::Row& row) {
    switch (row.width) {
      case 8:
        return row.is_signed() ? static_cast<uint64_t>(int64_t{load<int8_t>(address)})
                               : load<uint8_t>(address);
      case 16:
        return row.is_signed() ? static_cast<uint64_t>(int64_t{load<int16_t>(address)})
                               : load<uint16_t>(address);
      case 32:
        return row.is_signed() ? static_cast<uint64_t>(int64_t{load<int32_t>(address)})
                               : load<uint32_t>(address);
      default:
        return load<uint64_t>(address);
    }
  }

  Code& code_;
  const Lowered& lowered_;
  std::vector<uint8_t> targets_;
  std::array<std::optional<uint64_t>, kOperandRegisters> addresses_{};
};

Code code_of(const Lowered& lowered) {
  Code code{lowered.code, {}, {}};
  for (const Subprogram& function : lowered.subprograms)
    code.functions.push_back({function.begin, function.end});
  return code;
}

}  // namespace

Result<void> check_map_arguments(const Lowered& lowered) {
  if (lowered.maps.empty()) return {};
  Code code = code_of(lowered);
  if (!Walk(code, lowered).find_refused()) return {};
  // Seldom: so it is only now that the code which never runs is found.
  Walk(code, lowered).fold_constant_loads();
  fold_constants(code);
  if (auto refused = Walk(code, lowered).find_refused()) return fail(EINVAL, std::move(*refused));
  return {};
}

}  // namespace skep::vm
