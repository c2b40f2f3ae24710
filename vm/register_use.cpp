#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

using namespace traits;

using isa::AluOp;
using isa::AtomicOp;
using isa::Direction;
using isa::PacketMode;
using isa::Source;

constexpr uint16_t traits_of_alu(AluOp op, Source source) {
  unsigned traits = kWritesDst | kPure;
  const bool moves =
      op == AluOp::kMov || op == AluOp::kMovsx8 || op == AluOp::kMovsx16 || op == AluOp::kMovsx32;
  if (!moves) traits |= kReadsDst;
  if (source == Source::kReg) traits |= kReadsSrc;
  return static_cast<uint16_t>(traits);
}

constexpr uint16_t traits_of_atomic(AtomicOp op) {
  unsigned traits = kReadsDst | kReadsSrc;
  if (op == AtomicOp::kCmpxchg)
    traits |= kReadsR0 | kWritesR0;
  else if (isa::fetches(op))
    traits |= kWritesSrc;
  return static_cast<uint16_t>(traits);
}

constexpr uint16_t if_register(Source source, unsigned trait) {
  return static_cast<uint16_t>(source == Source::kReg ? trait : 0U);
}

constexpr uint16_t traits_of_control(isa::Op op) {
  using enum isa::Op;
  if (op == kGoto || op == kGotol) return kEndsFlow | kJumps;
  if (op == kMayGoto) return kConditional | kJumps;
  if (op == kExit) return kReadsR0 | kEndsFlow;
  if (op == kCallLocal) return kReadsOff | kClobbersArguments;
  if (op == kCallReg) return kReadsDst | kReadsArguments | kClobbersArguments;
  return kReadsArguments | kClobbersArguments;
}

}  // namespace

const uint16_t traits::kOfOperations[] = {
#define SKEP_ALU(name, opcode, key, value, operation, width, source, ...) \
  traits_of_alu(AluOp::k##operation, Source::k##source),
#define SKEP_JUMP(name, opcode, condition, width, source, ...) \
  static_cast<uint16_t>(kConditional | kJumps | kReadsDst | if_register(Source::k##source, kReadsSrc)),
#define SKEP_LOAD(...) kReadsSrc | kWritesDst,
#define SKEP_STORE(name, opcode, width, source, ...) \
  static_cast<uint16_t>(kReadsDst | if_register(Source::k##source, kReadsSrc)),
#define SKEP_ATOMIC(name, opcode, imm, operation, ...) traits_of_atomic(AtomicOp::k##operation),
#define SKEP_ORDERED(name, opcode, imm, direction, ...) \
  Direction::k##direction == Direction::kLoad ? kReadsSrc | kWritesDst : kReadsSrc | kReadsDst,
#define SKEP_LDIMM(...) kWritesDst | kPure,
#define SKEP_PACKET(name, opcode, mode, ...) \
  static_cast<uint16_t>(kClobbersArguments | (PacketMode::k##mode == PacketMode::kInd ? kReadsSrc : 0)),
#define SKEP_CONTROL(name, ...) traits_of_control(isa::Op::k##name),
#include "isa/instructions.def"
#define SKEP_ALU3(name, alu, width, source) \
  static_cast<uint16_t>(kReadsSrc | kWritesDst | kPure | if_register(Source::k##source, kReadsIndex)),
#define SKEP_ADDRESS(...) kReadsSrc | kReadsIndex | kWritesDst | kPure,
#define SKEP_ROTATE(...) kReadsSrc | kWritesDst | kPure,
#define SKEP_DIVISION(...) kReadsSrc | kWritesDst | kPure,
#define SKEP_LOAD_INDEXED(...) kReadsSrc | kReadsIndex | kWritesDst,
#define SKEP_LOAD_SWAPPED(...) kReadsSrc | kReadsIndex | kWritesDst,
#define SKEP_STORE_INDEXED(name, width, source) \
  static_cast<uint16_t>(kReadsDst | kReadsIndex | if_register(Source::k##source, kReadsSrc)),
#define SKEP_STORE_SWAPPED(...) kReadsDst | kReadsIndex | kReadsSrc,
#define SKEP_JUMP_CLEAR(name, width, source) \
  static_cast<uint16_t>(kConditional | kJumps | kReadsDst | if_register(Source::k##source, kReadsSrc)),
// Where the condition does not hold dst keeps its value.
#define SKEP_SELECT_CLEAR(name, width, source)                                       \
  static_cast<uint16_t>(kReadsDst | kReadsIndex | kReadsScale | kWritesDst | kPure | \
                        if_register(Source::k##source, kReadsSrc)),
#define SKEP_SELECT(name, condition, width, source)                                  \
  static_cast<uint16_t>(kReadsDst | kReadsIndex | kReadsScale | kWritesDst | kPure | \
                        if_register(Source::k##source, kReadsSrc)),
#include "vm/operations.def"
};

}  // namespace skep::vm
