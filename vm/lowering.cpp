#include "vm/lowering.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <set>

#include "vm/map_arguments.hpp"
#include "vm/program.hpp"

namespace skep::vm {
namespace {

using isa::Class;
using isa::Instruction;
using isa::Op;

constexpr size_t kMaxInstructions = 1'000'000;  // BPF_COMPLEXITY_LIMIT_INSNS
constexpr uint32_t kNoIndex = std::numeric_limits<uint32_t>::max();

uint32_t low_half(const Instruction& i) { return static_cast<uint32_t>(static_cast<uint64_t>(i.imm)); }
uint32_t high_half(const Instruction& i) { return static_cast<uint32_t>(static_cast<uint64_t>(i.imm) >> 32); }

// A jump, as opposed to a call: where it may lead is one slot.
bool is_jump(const Instruction& i) {
  return isa::row(i.op).cls == Class::kJump || i.op == Op::kGoto || i.op == Op::kGotol ||
         i.op == Op::kMayGoto;
}

bool ends_function(Op op) { return op == Op::kExit || op == Op::kGoto || op == Op::kGotol; }

std::unexpected<Error> refuse(std::string message) { return fail(EINVAL, std::move(message)); }

class Lowering {
 public:
  Lowering(const ProgramSpec& spec, const HelperTable& helpers, const MapResolver& resolve_map,
           const Program& program)
      : spec_(spec), helpers_(helpers), resolve_map_(resolve_map), program_(program) {}

  Result<Lowered> run() {
    if (spec_.instructions.empty()) return refuse("the program has no instructions");
    if (spec_.instructions.size() > kMaxInstructions)
      return fail(E2BIG, fmt::format("the program has {} instructions, more than {}",
                                     spec_.instructions.size(), kMaxInstructions));
    auto decoded = isa::decode(spec_.instructions);
    if (!decoded) return refuse(decoded.error().message);
    out_.decoded = std::move(*decoded);
    index_slots();
    for (const auto step : {&Lowering::find_functions, &Lowering::check_flow, &Lowering::resolve})
      if (auto done = (this->*step)(); !done) return std::unexpected(done.error());
    return std::move(out_);
  }

 private:
  void index_slots() {
    index_of_slot_.assign(spec_.instructions.size(), kNoIndex);
    for (uint32_t i = 0; i < out_.decoded.size(); ++i) index_of_slot_[out_.decoded[i].slot] = i;
  }

  // The lowered index of a slot; kNoIndex when it is out of the program or the second half of an immediate.
  uint32_t index_of(int64_t slot) const {
    if (slot < 0 || slot >= static_cast<int64_t>(index_of_slot_.size())) return kNoIndex;
    return index_of_slot_[static_cast<size_t>(slot)];
  }

  // Slot that a call or a function reference names.
  static int64_t function_slot(const Instruction& i) {
    return i.op == Op::kCallLocal ? i.target_slot()
                                  : static_cast<int64_t>(i.slot) + 1 + static_cast<int32_t>(low_half(i));
  }

  Result<void> find_functions() {
    std::set<uint32_t> begins{0};
    for (const Instruction& i : out_.decoded) {
      if (i.op != Op::kCallLocal && i.op != Op::kLdFunc) continue;
      const int64_t slot = function_slot(i);
      const uint32_t begin = index_of(slot);
      if (begin == kNoIndex)
        return refuse(fmt::format("call from insn {} to {}: no such instruction", i.slot, slot));
      begins.insert(begin);
    }
    for (const uint32_t begin : begins) {
      if (!out_.subprograms.empty()) out_.subprograms.back().end = begin;
      const auto index = static_cast<uint32_t>(out_.subprograms.size());
      out_.subprograms.push_back({&program_, index, begin, 0, false, function_name(begin)});
    }
    out_.subprograms.back().end = static_cast<uint32_t>(out_.decoded.size());
    return {};
  }

  std::string function_name(uint32_t begin) const {
    for (const auto& [slot, name] : spec_.function_names)
      if (index_of(slot) == begin) return name;
    return begin == 0 ? spec_.name : fmt::format("func_{}", out_.decoded[begin].slot);
  }

  // Every jump stays in its function, and no function runs into the next (check_subprogs of the kernel's
  // verifier).
  Result<void> check_flow() {
    for (Subprogram& function : out_.subprograms) {
      for (uint32_t n = function.begin; n < function.end; ++n) {
        const Instruction& i = out_.decoded[n];
        if (i.op == Op::kMayGoto) function.uses_may_goto = true;
        if (!is_jump(i)) continue;
        const int64_t slot = i.target_slot();
        if (slot >= 0 && slot < static_cast<int64_t>(index_of_slot_.size()) && index_of(slot) == kNoIndex)
          return refuse(
              fmt::format("jump from insn {} to {}: the second slot of a 64-bit immediate", i.slot, slot));
        const uint32_t target = index_of(slot);
        if (target == kNoIndex || target < function.begin || target >= function.end)
          return refuse(fmt::format("jump out of range from insn {} to {}", i.slot, slot));
      }
      const Instruction& last = out_.decoded[function.end - 1];
      if (!ends_function(last.op))
        return refuse(
            fmt::format("insn {}: last insn is not an exit or jmp; execution would fall off the end of {}",
                        last.slot, function.name.empty() ? "the program" : function.name));
    }
    return {};
  }

  Result<void> resolve() {
    const auto is_helper_call = [](const Instruction& i) {
      return i.op == Op::kCallHelper || i.op == Op::kCallReg;
    };
    out_.call_sites.reserve(static_cast<size_t>(std::ranges::count_if(out_.decoded, is_helper_call)));
    out_.code.reserve(out_.decoded.size());
    for (const Instruction& i : out_.decoded) {
      // In its place from the beginning: what is read wider than it was written stalls.
      LoweredInstruction& l = out_.code.emplace_back(operation(i.op), i.dst, i.src);
      l.off = i.off;
      l.slot = i.slot;
      l.imm = static_cast<uint64_t>(i.imm);
      if (auto done = resolve_one(i, l); !done) return done;
    }
    return {};
  }

  Result<void> resolve_one(const Instruction& i, LoweredInstruction& l) {
    const Class cls = isa::row(i.op).cls;
    // Most instructions name nothing.
    if (cls != Class::kJump && cls != Class::kControl && cls != Class::kLdImm) return {};
    if (is_jump(i)) {
      const auto here = static_cast<uint32_t>(out_.code.size()) - 1;
      l.target = index_of(i.target_slot());
      l.cost = l.target <= here ? here - l.target + 1 : 0;
    } else if (i.op == Op::kCallLocal || i.op == Op::kLdFunc) {
      const Subprogram& callee = function_at(index_of(function_slot(i)));
      l.target = callee.index;
      l.cost = callee.length();
      l.imm = reinterpret_cast<uintptr_t>(&callee);
      if (i.op == Op::kLdFunc) l.op = Operation::kLdImm64;
    } else if (i.op == Op::kCallHelper || i.op == Op::kCallReg) {
      return resolve_helper(i, l);
    } else if (i.op == Op::kCallKfunc) {
      return refuse(fmt::format("insn {}: calling kernel function #{} is not supported", i.slot, i.imm));
    } else if (cls == Class::kLdImm && i.op != Op::kLdImm64) {
      return resolve_reference(i, l);
    }
    return {};
  }

  const Subprogram& function_at(uint32_t begin) const {
    return *std::ranges::lower_bound(out_.subprograms, begin, {}, &Subprogram::begin);
  }

  Result<void> resolve_helper(const Instruction& i, LoweredInstruction& l) {
    const HelperRow* helper = nullptr;
    if (i.op == Op::kCallHelper) {
      helper = helpers_.find(static_cast<uint64_t>(i.imm));
      if (!helper) {
        const char* name = kernel_helper_name(static_cast<uint64_t>(i.imm));
        if (name == nullptr) return refuse(fmt::format("insn {}: invalid func unknown#{}", i.slot, i.imm));
        return refuse(
            fmt::format("insn {}: program of this type cannot use helper bpf_{}#{}", i.slot, name, i.imm));
      }
      if (!helper_available(*spec_.type, *helper))
        return refuse(fmt::format("insn {}: program of this type cannot use helper bpf_{}#{}", i.slot,
                                  helper->name, helper->id));
      if (helper->gpl_only && !spec_.gpl_compatible())
        return refuse(fmt::format(
            "insn {}: cannot call GPL-restricted function bpf_{}#{} from non-GPL compatible program", i.slot,
            helper->name, helper->id));
    }
    if (helper && helper->special == Special::kTailCall && out_.code.size() > out_.subprograms.front().end)
      out_.functions_tail_call = true;
    if (!helper || helper->walks_stack) out_.walks_stack = true;
    out_.call_sites.push_back({helper, &program_, i.slot});
    l.imm = reinterpret_cast<uintptr_t>(&out_.call_sites.back());
    return {};
  }

  Result<void> resolve_reference(const Instruction& i, LoweredInstruction& l) {
    l.op = Operation::kLdImm64;
    if (i.op == Op::kLdBtfId)
      return refuse(
          fmt::format("insn {}: BTF id {} of a kernel variable cannot be resolved", i.slot, low_half(i)));
    const bool by_index = i.op == Op::kLdMapIdx || i.op == Op::kLdMapIdxValue;
    auto map = resolve_map_(static_cast<int32_t>(low_half(i)), by_index);
    if (!map) return fail(map.error().code, fmt::format("insn {}: {}", i.slot, map.error().message));
    if (std::ranges::find(out_.maps, *map) == out_.maps.end()) out_.maps.push_back(*map);
    if (i.op == Op::kLdMapFd || i.op == Op::kLdMapIdx) {
      l.imm = reinterpret_cast<uintptr_t>(map->get());
      return {};
    }
    auto* value = static_cast<std::byte*>((*map)->direct_value());
    if (!value)
      return refuse(fmt::format("insn {}: no direct value access support for this map type", i.slot));
    const uint32_t offset = high_half(i);
    const uint32_t size = (*map)->spec().value_size;
    if (offset >= size)
      return refuse(fmt::format("insn {}: invalid access to map value pointer, value_size={} off={}", i.slot,
                                size, offset));
    l.imm = reinterpret_cast<uintptr_t>(value + offset);
    return {};
  }

  const ProgramSpec& spec_;
  const HelperTable& helpers_;
  const MapResolver& resolve_map_;
  const Program& program_;
  Lowered out_;
  std::vector<uint32_t> index_of_slot_;
};

}  // namespace

// license_is_gpl_compatible of the kernel; a raw program is nobody's but its user's.
bool ProgramSpec::gpl_compatible() const {
  static constexpr std::string_view kCompatible[] = {
      "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};
  return type->id == kProgTypeRaw || std::ranges::find(kCompatible, license) != std::end(kCompatible);
}

Result<Lowered> lower(const ProgramSpec& spec, const HelperTable& helpers, const MapResolver& resolve_map,
                      const Program& program) {
  auto lowered = Lowering(spec, helpers, resolve_map, program).run();
  if (!lowered) return lowered;
  if (auto good = check_map_arguments(*lowered); !good) return std::unexpected(good.error());
  return lowered;
}

}  // namespace skep::vm
