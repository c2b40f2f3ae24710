#include "bench/instruction_count.hpp"

#include <array>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "isa/arithmetic.hpp"
#include "vm/memory_access.hpp"

namespace skep::bench {
namespace {

using isa::Op;

template <unsigned bits>
using Unsigned = std::conditional_t<
    bits == 8, uint8_t,
    std::conditional_t<bits == 16, uint16_t, std::conditional_t<bits == 32, uint32_t, uint64_t>>>;

constexpr size_t kFrame = 512;
constexpr size_t kFrames = 8;

class Counting {
 public:
  explicit Counting(std::span<const isa::Encoded> program) {
    auto decoded = isa::decode(program);
    if (!decoded) throw std::runtime_error(decoded.error().message);
    code_ = std::move(*decoded);
    index_of_slot_.resize(program.size());
    for (size_t n = 0; n < code_.size(); ++n) index_of_slot_[code_[n].slot] = n;
  }

  Count run(std::span<std::byte> memory) {
    r_[1] = reinterpret_cast<uintptr_t>(memory.data());
    r_[2] = memory.size();
    r_[isa::kFramePointer] = reinterpret_cast<uintptr_t>(stack_.data()) + kFrame;
    for (bool running = true; running; ++count_) running = step(code_[at_++]);
    return {count_, r_[0]};
  }

 private:
  struct Caller {
    size_t resume;
    std::array<uint64_t, 4> saved;
  };

  // False: the program is over.
  bool step(const isa::Instruction& i) {
    const isa::Row& row = isa::row(i.op);
    const uint64_t right = row.source == isa::Source::kImm ? static_cast<uint64_t>(i.imm) : r_[i.src];
    switch (i.op) {
#define SKEP_ALU(name, opcode, key, value, operation, width, ...)                           \
  case Op::k##name:                                                                         \
    r_[i.dst] = isa::alu<isa::AluOp::k##operation>(static_cast<Unsigned<width>>(r_[i.dst]), \
                                                   static_cast<Unsigned<width>>(right));    \
    return true;
#define SKEP_JUMP(name, opcode, condition, width, ...)                                    \
  case Op::k##name:                                                                       \
    if (isa::holds<isa::Condition::k##condition>(static_cast<Unsigned<width>>(r_[i.dst]), \
                                                 static_cast<Unsigned<width>>(right)))    \
      jump(i);                                                                            \
    return true;
#define SKEP_LOAD(name, opcode, width, sign, ...)                                            \
  case Op::k##name:                                                                          \
    r_[i.dst] = loaded<width, isa::Sign::k##sign>(r_[i.src] + static_cast<uint64_t>(i.off)); \
    return true;
#define SKEP_STORE(name, opcode, width, ...)                             \
  case Op::k##name:                                                      \
    vm::store<Unsigned<width>>(r_[i.dst] + static_cast<uint64_t>(i.off), \
                               static_cast<Unsigned<width>>(right));     \
    return true;
#define SKEP_ATOMIC(name, ...) \
  case Op::k##name:            \
    refuse(row);
#define SKEP_ORDERED(name, ...) \
  case Op::k##name:             \
    refuse(row);
#define SKEP_PACKET(name, ...) \
  case Op::k##name:            \
    refuse(row);
#include "isa/instructions.def"
      case Op::kLdMapFd:
      case Op::kLdMapIdx:
      case Op::kLdMapValue:
      case Op::kLdMapIdxValue:
      case Op::kLdBtfId:
      case Op::kLdFunc:
      case Op::kMayGoto:
      case Op::kCallHelper:
      case Op::kCallKfunc:
      case Op::kCallReg:
        refuse(row);
      case Op::kLdImm64:
        r_[i.dst] = static_cast<uint64_t>(i.imm);
        return true;
      case Op::kGoto:
      case Op::kGotol:
        jump(i);
        return true;
      case Op::kCallLocal:
        enter(i);
        return true;
      case Op::kExit:
        return leave();
    }
    return false;
  }

  [[noreturn]] static void refuse(const isa::Row& row) {
    throw std::runtime_error(std::string("cannot count ") + row.name);
  }

  template <unsigned bits, isa::Sign sign>
  static uint64_t loaded(uint64_t address) {
    const auto value = vm::load<Unsigned<bits>>(address);
    if constexpr (sign == isa::Sign::kUnsigned) return value;
    return static_cast<uint64_t>(static_cast<std::make_signed_t<Unsigned<bits>>>(value));
  }

  void jump(const isa::Instruction& i) { at_ = index_of_slot_.at(static_cast<size_t>(i.target_slot())); }

  void enter(const isa::Instruction& i) {
    if (callers_.size() + 1 == kFrames) throw std::runtime_error("calls too deep to count");
    callers_.push_back({at_, {r_[6], r_[7], r_[8], r_[9]}});
    r_[isa::kFramePointer] += kFrame;
    jump(i);
  }

  bool leave() {
    if (callers_.empty()) return false;
    at_ = callers_.back().resume;
    for (size_t n = 0; n < 4; ++n) r_[6 + n] = callers_.back().saved[n];
    callers_.pop_back();
    r_[isa::kFramePointer] -= kFrame;
    return true;
  }

  std::vector<isa::Instruction> code_;
  std::vector<size_t> index_of_slot_;
  std::vector<Caller> callers_;
  std::array<uint64_t, isa::kRegisters> r_{};
  alignas(16) std::array<std::byte, kFrame * kFrames> stack_{};
  size_t at_ = 0;
  uint64_t count_ = 0;
};

}  // namespace

Count count_instructions(std::span<const isa::Encoded> program, std::span<std::byte> memory) {
  return Counting(program).run(memory);
}

}  // namespace skep::bench
