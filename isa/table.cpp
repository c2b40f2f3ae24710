#include <iterator>

#include "isa/instruction.hpp"

namespace skep::isa {
namespace {

constexpr Form alu_form(Source source) {
  return source == Source::kNone ? Form::kDst : source == Source::kImm ? Form::kDstImm : Form::kDstReg;
}
constexpr Form jump_form(Source source) { return source == Source::kImm ? Form::kJumpImm : Form::kJumpReg; }
constexpr Form store_form(Source source) {
  return source == Source::kImm ? Form::kStoreImm : Form::kStoreReg;
}
template <class E>
constexpr uint8_t index(E value) {
  return static_cast<uint8_t>(value);
}

}  // namespace

constexpr Row kTable[] = {
#define SKEP_ALU(name, opcode, key, value, operation, width, source, group, cpu) \
  {Op::k##name,                                                                  \
   #name,                                                                        \
   opcode,                                                                       \
   Key::k##key,                                                                  \
   value,                                                                        \
   Class::kAlu,                                                                  \
   alu_form(Source::k##source),                                                  \
   width,                                                                        \
   index(AluOp::k##operation),                                                   \
   Source::k##source,                                                            \
   Group::k##group,                                                              \
   cpu},
#define SKEP_JUMP(name, opcode, condition, width, source, group, cpu) \
  {Op::k##name,                                                       \
   #name,                                                             \
   opcode,                                                            \
   Key::kOff,                                                         \
   0,                                                                 \
   Class::kJump,                                                      \
   jump_form(Source::k##source),                                      \
   width,                                                             \
   index(Condition::k##condition),                                    \
   Source::k##source,                                                 \
   Group::k##group,                                                   \
   cpu},
#define SKEP_LOAD(name, opcode, width, sign, group, cpu)                                                \
  {Op::k##name,          #name,        opcode,          Key::kImm, 0, Class::kLoad, Form::kLoad, width, \
   index(Sign::k##sign), Source::kReg, Group::k##group, cpu},
#define SKEP_STORE(name, opcode, width, source, group, cpu) \
  {Op::k##name,                                             \
   #name,                                                   \
   opcode,                                                  \
   Key::kImm,                                               \
   0,                                                       \
   Class::kStore,                                           \
   store_form(Source::k##source),                           \
   width,                                                   \
   0,                                                       \
   Source::k##source,                                       \
   Group::k##group,                                         \
   cpu},
#define SKEP_ATOMIC(name, opcode, imm, operation, width, group, cpu) \
  {Op::k##name,                                                      \
   #name,                                                            \
   opcode,                                                           \
   Key::kImm,                                                        \
   imm,                                                              \
   Class::kAtomic,                                                   \
   Form::kStoreReg,                                                  \
   width,                                                            \
   index(AtomicOp::k##operation),                                    \
   Source::kReg,                                                     \
   Group::k##group,                                                  \
   cpu},
#define SKEP_ORDERED(name, opcode, imm, direction, width, group, cpu)           \
  {Op::k##name,                                                                 \
   #name,                                                                       \
   opcode,                                                                      \
   Key::kImm,                                                                   \
   imm,                                                                         \
   Class::kOrdered,                                                             \
   Direction::k##direction == Direction::kLoad ? Form::kLoad : Form::kStoreReg, \
   width,                                                                       \
   index(Direction::k##direction),                                              \
   Source::kReg,                                                                \
   Group::k##group,                                                             \
   cpu},
#define SKEP_LDIMM(name, opcode, src, group, cpu)                                         \
  {Op::k##name, #name, opcode,       Key::kSrc,       src, Class::kLdImm, Form::kLdImm64, \
   64,          0,     Source::kImm, Group::k##group, cpu},
#define SKEP_PACKET(name, opcode, mode, width, group, cpu)                 \
  {Op::k##name,                                                            \
   #name,                                                                  \
   opcode,                                                                 \
   Key::kOff,                                                              \
   0,                                                                      \
   Class::kPacket,                                                         \
   PacketMode::k##mode == PacketMode::kAbs ? Form::kAbs : Form::kInd,      \
   width,                                                                  \
   index(PacketMode::k##mode),                                             \
   PacketMode::k##mode == PacketMode::kAbs ? Source::kNone : Source::kReg, \
   Group::k##group,                                                        \
   cpu},
#define SKEP_CONTROL(name, opcode, key, value, form, group, cpu)                  \
  {Op::k##name,   #name, opcode, Key::k##key,   value,           Class::kControl, \
   Form::k##form, 64,    0,      Source::kNone, Group::k##group, cpu},
#include "isa/instructions.def"
};

namespace {

constexpr bool rows_stand_at_their_op() {
  for (size_t i = 0; i < std::size(kTable); ++i)
    if (index(kTable[i].op) != i) return false;
  return true;
}
static_assert(rows_stand_at_their_op());

}  // namespace

std::span<const Row> rows() { return kTable; }

std::string_view group_name(Group group) {
  switch (group) {
    case Group::kBase32:
      return "base32";
    case Group::kBase64:
      return "base64";
    case Group::kAtomic32:
      return "atomic32";
    case Group::kAtomic64:
      return "atomic64";
    case Group::kDivmul32:
      return "divmul32";
    case Group::kDivmul64:
      return "divmul64";
    case Group::kPacket:
      return "packet";
    case Group::kCallx:
      return "callx";
  }
  return "";
}

}  // namespace skep::isa
