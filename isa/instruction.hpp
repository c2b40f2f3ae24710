#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::isa {

// What an arithmetic instruction computes; see arithmetic.hpp for the meaning of each.
enum class AluOp : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kOr,
  kAnd,
  kLsh,
  kRsh,
  kNeg,
  kMod,
  kXor,
  kMov,
  kArsh,
  kSdiv,
  kSmod,
  kMovsx8,
  kMovsx16,
  kMovsx32,
  kLe16,
  kLe32,
  kLe64,
  kBe16,
  kBe32,
  kBe64,
  kBswap16,
  kBswap32,
  kBswap64,
};
enum class Condition : uint8_t { kEq, kGt, kGe, kSet, kNe, kSgt, kSge, kLt, kLe, kSlt, kSle };
enum class AtomicOp : uint8_t {
  kAdd,
  kOr,
  kAnd,
  kXor,
  kFetchAdd,
  kFetchOr,
  kFetchAnd,
  kFetchXor,
  kXchg,
  kCmpxchg,
};
// Whether the operation leaves the old value in a register.
constexpr bool fetches(AtomicOp op) { return op >= AtomicOp::kFetchAdd; }

enum class Source : uint8_t { kNone, kImm, kReg };
enum class Sign : uint8_t { kUnsigned, kSigned };
enum class Direction : uint8_t { kLoad, kStore };
enum class PacketMode : uint8_t { kAbs, kInd };

// RFC 9669 section 2.4, and the call by register that no group of the RFC has.
enum class Group : uint8_t { kBase32, kBase64, kAtomic32, kAtomic64, kDivmul32, kDivmul64, kPacket, kCallx };

// Which part of the table a row stands in; decides which fields of Row mean something.
enum class Class : uint8_t { kAlu, kJump, kLoad, kStore, kAtomic, kOrdered, kLdImm, kPacket, kControl };

// Which fields are operands; the others are reserved and have to be zero.
enum class Form : uint8_t {
  kDst,        // dst                      neg, byte order
  kDstImm,     // dst, imm                 arithmetic with an immediate
  kDstReg,     // dst, src                 arithmetic with a register
  kJumpImm,    // dst, imm, off
  kJumpReg,    // dst, src, off
  kGoto,       // off
  kGotol,      // imm is the offset
  kMayGoto,    // off
  kLoad,       // dst, src, off
  kStoreImm,   // dst, off, imm
  kStoreReg,   // dst, src, off; atomics too
  kLdImm64,    // dst, imm of both slots
  kAbs,        // imm
  kInd,        // src, imm
  kCall,       // imm
  kCallKfunc,  // imm, off (the index of the module's BTF)
  kCallReg,    // dst
  kExit,       // none
};

// The field that tells rows with one opcode apart.
enum class Key : uint8_t { kOff, kImm, kSrc };

enum class Op : uint8_t {
#define SKEP_INSTRUCTION(name) k##name,
#include "isa/instructions.def"
};

// All of them, in order.
inline constexpr auto kOps = std::to_array<Op>({
#define SKEP_INSTRUCTION(name) Op::k##name,
#include "isa/instructions.def"
});

struct Row {
  Op op;
  const char* name;  // the enumerator without its k
  uint8_t opcode;
  Key key;
  int32_t key_value;
  Class cls;
  Form form;
  uint8_t width;      // bits computed on or moved
  uint8_t operation;  // AluOp, Condition, AtomicOp, Sign, Direction or PacketMode, by class
  Source source;
  Group group;
  uint8_t cpu;  // the -mcpu version that introduced it

  constexpr AluOp alu() const { return static_cast<AluOp>(operation); }
  constexpr Condition condition() const { return static_cast<Condition>(operation); }
  constexpr AtomicOp atomic() const { return static_cast<AtomicOp>(operation); }
  constexpr bool is_signed() const { return static_cast<Sign>(operation) == Sign::kSigned; }
  constexpr Direction direction() const { return static_cast<Direction>(operation); }
  constexpr PacketMode packet_mode() const { return static_cast<PacketMode>(operation); }
};

std::span<const Row> rows();
// The table itself; rows() says how long it is.
extern const Row kTable[];
inline const Row& row(Op op) { return kTable[static_cast<size_t>(op)]; }
std::string_view group_name(Group group);  // as bpf_conformance spells it: "base32", "divmul64"

// Ten general registers and the read-only frame pointer.
inline constexpr unsigned kRegisters = 11;
inline constexpr uint8_t kFramePointer = 10;
inline constexpr uint8_t kMaxRegister = 10;

// An instruction as it stands in memory (RFC 9669 section 3).
struct Encoded {
  uint8_t opcode = 0;
  uint8_t dst : 4 = 0;
  uint8_t src : 4 = 0;
  int16_t off = 0;
  int32_t imm = 0;

  friend bool operator==(const Encoded&, const Encoded&) = default;
};
static_assert(sizeof(Encoded) == 8);

// A decoded instruction.
struct Instruction {
  Op op = Op::kExit;
  uint8_t dst = 0;
  uint8_t src = 0;
  int16_t off = 0;
  uint32_t slot = 0;  // where it stands in the encoded program; a 64-bit immediate takes two slots
  int64_t imm = 0;    // sign-extended; both halves of a 64-bit immediate (low slot in the low half)

  unsigned slots() const { return row(op).cls == Class::kLdImm ? 2 : 1; }
  // For jumps and local calls: the slot they lead to.
  int64_t target_slot() const;

  friend bool operator==(const Instruction&, const Instruction&) = default;
};

// What is wrong with an encoded program, and where.
struct DecodeError {
  uint32_t slot = 0;
  std::string message;  // says the slot and the bytes too
  int code = 0;  // the kernel's error number for it: EINVAL, or EACCES for a write to the frame pointer
};

std::expected<std::vector<Instruction>, DecodeError> decode(std::span<const Encoded> program);
// Appends one slot, or two for a 64-bit immediate.
void encode(const Instruction& instruction, std::vector<Encoded>& out);
std::vector<Encoded> encode(std::span<const Instruction> program);

}  // namespace skep::isa
