#include "jit/access_plan.hpp"

#include <bit>

#include "vm/register_use.hpp"

namespace skep::jit {
namespace {

using isa::AluOp;
using isa::Source;
using vm::Fused;
using vm::FusedRow;
using vm::kZeroRegister;
using vm::LoweredInstruction;
using vm::Operation;

constexpr size_t kMaxCaches = 16;  // of a function, half for reading and half for writing
constexpr unsigned kStackWords = vm::kFrameSize / 8;

Access reading(const LoweredInstruction& i, unsigned width) {
  return {i.src, static_cast<uint8_t>(width / 8), false};
}
Access writing(const LoweredInstruction& i, unsigned width) {
  return {i.dst, static_cast<uint8_t>(width / 8), true};
}

std::optional<Access> access_of_fused(const LoweredInstruction& i) {
  const FusedRow& row = vm::fused_row(i.op);
  switch (row.kind) {
    case Fused::kLoadIndexed:
    case Fused::kLoadSwapped:
      return reading(i, row.width);
    case Fused::kStoreIndexed:
    case Fused::kStoreSwapped:
      return writing(i, row.width);
    case Fused::kIsa:
    case Fused::kAlu3:
    case Fused::kAddress:
    case Fused::kRotate:
    case Fused::kDivision:
    case Fused::kSelectClear:
    case Fused::kJumpClear:
    case Fused::kSelect:
      return std::nullopt;
  }
  return std::nullopt;
}

// Guesses, for each register, where the pointer in it comes from: an argument, a call's result, a load. Code
// is followed in the order it stands in, whatever jumps say: a wrong guess costs time and nothing else.
class Origins {
 public:
  using Origin = uint16_t;
  static constexpr Origin kNumber = 0;  // no pointer
  static constexpr Origin kContext = 1;

  Origins() {
    for (unsigned reg = 1; reg <= 5; ++reg) of_register_[reg] = fresh();
    of_register_[isa::kFramePointer] = fresh();
  }

  Origin address(unsigned base, const LoweredInstruction& i) const {
    const Origin origin = of_register_[base];
    return origin == kNumber && i.scale == 0 ? of_register_[i.index] : origin;
  }

  void follow(const LoweredInstruction& i) {
    const Origin result = result_of(i);
    const vm::RegisterSet writes = vm::register_use(i).writes;
    for (unsigned reg = 0; reg < isa::kRegisters; ++reg)
      if ((writes & vm::register_set(reg)) != 0) of_register_[reg] = kNumber;
    if (is_call(i.op))
      of_register_[0] = fresh();
    else if ((writes & vm::register_set(i.dst)) != 0)
      of_register_[i.dst] = result;
    if (i.op == Operation::kStx64 && is_spill(i.dst, i)) spilled(i) = of_register_[i.src];
  }

 private:
  static bool is_call(Operation op) {
    return op == Operation::kCallLocal || op == Operation::kCallHelper || op == Operation::kCallReg;
  }
  static bool is_spill(unsigned base, const LoweredInstruction& i) {
    return base == isa::kFramePointer && i.off < 0 && i.off >= -static_cast<int>(vm::kFrameSize) &&
           i.off % 8 == 0;
  }

  Origin result_of(const LoweredInstruction& i) {
    if (vm::is_fused(i.op)) return result_of_fused(i);
    const isa::Row& row = isa::row(vm::isa_op(i.op));
    if (row.cls == isa::Class::kAlu) return row.width == 64 ? result_of_alu(i, row) : kNumber;
    if (row.cls == isa::Class::kLdImm) return fresh();
    if (row.cls == isa::Class::kLoad) return loaded(i, row.width);
    return kNumber;
  }

  Origin result_of_alu(const LoweredInstruction& i, const isa::Row& row) const {
    const bool reg = row.source == Source::kReg;
    if (row.alu() == AluOp::kMov) return reg ? of_register_[i.src] : kNumber;
    if (row.alu() == AluOp::kSub) return of_register_[i.dst];
    if (row.alu() != AluOp::kAdd) return kNumber;
    return reg && of_register_[i.dst] == kNumber ? of_register_[i.src] : of_register_[i.dst];
  }

  Origin result_of_fused(const LoweredInstruction& i) {
    const FusedRow& row = vm::fused_row(i.op);
    if (row.kind == Fused::kAddress) return address(i.src, i);
    if (row.kind == Fused::kLoadIndexed) return loaded(i, row.width);
    if (row.kind == Fused::kSelect || row.kind == Fused::kSelectClear) return of_register_[i.dst];
    return kNumber;
  }

  // Contexts hold pointers in 32 bits.
  Origin loaded(const LoweredInstruction& i, unsigned width) {
    if (width < 32) return kNumber;
    if (width == 32 || i.index != kZeroRegister || !is_spill(i.src, i)) return fresh();
    Origin& at = spilled(i);
    if (at == kNumber) at = fresh();
    return at;
  }

  Origin& spilled(const LoweredInstruction& i) { return of_stack_[static_cast<size_t>(-i.off) / 8 - 1]; }
  Origin fresh() { return next_++; }

  Origin next_ = kContext;
  std::array<Origin, vm::kOperandRegisters> of_register_{};
  std::array<Origin, kStackWords> of_stack_{};
};

// The cache of an origin; when there are enough of them, one that it shares.
uint8_t cache_of(std::vector<RegionCache>& caches, uint16_t origin, bool write) {
  std::array<uint8_t, kMaxCaches> alike;
  size_t count = 0;
  for (size_t n = 0; n < caches.size(); ++n) {
    if (caches[n].write != write) continue;
    if (caches[n].origin == origin) return static_cast<uint8_t>(n);
    alike[count++] = static_cast<uint8_t>(n);
  }
  if (count == kMaxCaches / 2) return alike[origin % count];
  caches.push_back({.origin = origin, .write = write});
  return static_cast<uint8_t>(caches.size() - 1);
}

bool may_be_context(const vm::Program& program, const LoweredInstruction& i, const Access& access) {
  const vm::ProgramType& type = program.type();
  return i.index == kZeroRegister && i.off >= 0 &&
         static_cast<uint32_t>(i.off) + access.bytes <= type.context_size &&
         vm::context_access_allowed(type, static_cast<uint64_t>(i.off), access.bytes, access.write);
}

}  // namespace

std::optional<Access> access_of(const LoweredInstruction& i) {
  if (vm::is_fused(i.op)) return access_of_fused(i);
  const isa::Row& row = isa::row(vm::isa_op(i.op));
  switch (row.cls) {
    case isa::Class::kLoad:
      return reading(i, row.width);
    case isa::Class::kStore:
    case isa::Class::kAtomic:
      return writing(i, row.width);
    case isa::Class::kOrdered:
      return row.direction() == isa::Direction::kStore ? writing(i, row.width) : reading(i, row.width);
    case isa::Class::kAlu:
    case isa::Class::kJump:
    case isa::Class::kLdImm:
    case isa::Class::kPacket:
    case isa::Class::kControl:
      return std::nullopt;
  }
  return std::nullopt;
}

bool is_inside_frame(const LoweredInstruction& i, const Access& access) {
  return access.base == isa::kFramePointer && i.index == kZeroRegister &&
         i.off >= -static_cast<int>(vm::kFrameSize) && i.off <= -static_cast<int>(access.bytes);
}

std::vector<RegionCache> plan_accesses(const vm::Program& program, std::span<const LoweredInstruction> code,
                                       std::span<AccessSite> sites) {
  std::vector<RegionCache> caches;
  Origins origins;
  for (size_t n = 0; n < code.size(); ++n) {
    const LoweredInstruction& i = code[n];
    const auto access = access_of(i);
    if (access && !is_inside_frame(i, *access)) {
      const uint16_t origin = origins.address(access->base, i);
      sites[n].cache = cache_of(caches, origin, access->write);
      sites[n].context = origin == Origins::kContext && may_be_context(program, i, *access);
      caches[sites[n].cache].widths |= access->bytes;  // a power of two, and so the bit
    }
    origins.follow(i);
  }
  return caches;
}

}  // namespace skep::jit
