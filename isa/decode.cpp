#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "isa/instruction.hpp"

namespace skep::isa {
namespace {

int32_t key_of(Key key, const Encoded& e) {
  switch (key) {
    case Key::kOff:
      return e.off;
    case Key::kImm:
      return e.imm;
    case Key::kSrc:
      return e.src;
  }
  return 0;
}

struct Fields {
  bool dst, src, off, imm;
};

// The operands of a form; a row's key field counts as used too.
constexpr Fields find_operands(Form form) {
  switch (form) {
    case Form::kDst:
      return {true, false, false, false};
    case Form::kDstImm:
      return {true, false, false, true};
    case Form::kDstReg:
      return {true, true, false, false};
    case Form::kJumpImm:
      return {true, false, true, true};
    case Form::kJumpReg:
      return {true, true, true, false};
    case Form::kGoto:
      return {false, false, true, false};
    case Form::kGotol:
      return {false, false, false, true};
    case Form::kMayGoto:
      return {false, false, true, false};
    case Form::kLoad:
      return {true, true, true, false};
    case Form::kStoreImm:
      return {true, false, true, true};
    case Form::kStoreReg:
      return {true, true, true, false};
    case Form::kLdImm64:
      return {true, false, false, true};
    case Form::kAbs:
      return {false, false, false, true};
    case Form::kInd:
      return {false, true, false, true};
    case Form::kCall:
      return {false, false, false, true};
    case Form::kCallKfunc:
      return {false, false, true, true};
    case Form::kCallReg:
      return {true, false, false, false};
    case Form::kExit:
      return {false, false, false, false};
  }
  return {};
}

// The same as a table: decoding asks for every instruction.
constexpr auto kOperands = [] {
  std::array<Fields, static_cast<size_t>(Form::kExit) + 1> out{};
  for (size_t form = 0; form < out.size(); ++form) out[form] = find_operands(static_cast<Form>(form));
  return out;
}();

const Fields& operands(Form form) { return kOperands[static_cast<size_t>(form)]; }

// Rows whose key is the value of an operand field carry key value 0 for "no key"; a plain operand may be
// anything.
bool key_is_operand(const Row& r) {
  const Fields f = operands(r.form);
  return (r.key == Key::kOff && f.off) || (r.key == Key::kImm && f.imm) || (r.key == Key::kSrc && f.src);
}

// Fields as a set.
constexpr unsigned kDstField = 1;
constexpr unsigned kSrcField = 2;
constexpr unsigned kOffField = 4;
constexpr unsigned kImmField = 8;

constexpr unsigned field_set(bool dst, bool src, bool off, bool imm) {
  return (dst ? kDstField : 0) | (src ? kSrcField : 0) | (off ? kOffField : 0) | (imm ? kImmField : 0);
}

// Those that have to be zero.
unsigned reserved_fields(const Row& r) {
  const Fields f = operands(r.form);
  return field_set(!f.dst, !f.src && r.key != Key::kSrc, !f.off && r.key != Key::kOff,
                   !f.imm && r.key != Key::kImm);
}

// Registers a program may write: all but the frame pointer.
bool writes_dst(const Row& r) {
  switch (r.cls) {
    case Class::kAlu:
    case Class::kLoad:
    case Class::kLdImm:
      return true;
    case Class::kOrdered:
      return r.direction() == Direction::kLoad;
    case Class::kJump:
    case Class::kStore:
    case Class::kAtomic:
    case Class::kPacket:
    case Class::kControl:
      return false;
  }
  return false;
}

bool writes_src(const Row& r) {
  return r.cls == Class::kAtomic && fetches(r.atomic()) && r.atomic() != AtomicOp::kCmpxchg;
}

// What decoding asks of every instruction, by row; and the rows of an opcode, which stand together or apart
// in the table.
struct OpcodeIndex {
  static constexpr uint8_t kNone = 0xff;
  struct Asked {
    uint8_t next = kNone;  // row of the same opcode
    uint8_t reserved = 0;  // fields
    bool key_is_operand = false;
    bool writes_dst = false;
    bool writes_src = false;
  };
  std::array<uint8_t, 256> first;
  std::array<Asked, 256> of_row;

  OpcodeIndex() {
    first.fill(kNone);
    for (size_t i = rows().size(); i-- > 0;) {
      const Row& r = rows()[i];
      of_row[i] = {first[r.opcode], static_cast<uint8_t>(reserved_fields(r)), isa::key_is_operand(r),
                   isa::writes_dst(r), isa::writes_src(r)};
      first[r.opcode] = static_cast<uint8_t>(i);
    }
  }
};

const OpcodeIndex& opcode_index() {
  static const OpcodeIndex index;
  return index;
}

// OpcodeIndex::kNone: there is none.
uint8_t find_row(const OpcodeIndex& index, const Encoded& e) {
  uint8_t i = index.first[e.opcode];
  while (i != OpcodeIndex::kNone && !index.of_row[i].key_is_operand &&
         key_of(kTable[i].key, e) != kTable[i].key_value)
    i = index.of_row[i].next;
  return i;
}

std::string bytes_of(const Encoded& e) {
  uint8_t bytes[sizeof e];
  std::memcpy(bytes, &e, sizeof e);
  return fmt::format("{:02x}", fmt::join(bytes, " "));
}

std::unexpected<DecodeError> refuse(size_t slot, const Encoded& e, std::string_view what, int code = EINVAL) {
  return std::unexpected(DecodeError{static_cast<uint32_t>(slot),
                                     fmt::format("insn {} ({}): {}", slot, bytes_of(e), what), code});
}

// Fields on their own: a bit-field written into an Encoded and then read with all of it stalls.
struct Operands {
  uint8_t dst;
  uint8_t src;
  int16_t off;
  int32_t imm;
};

Operands operands_of(const Encoded& e, Form form) {
  // Compilers before clang 19 put the register of a call by register into imm.
  if (form == Form::kCallReg && e.dst == 0 && e.imm > 0 && e.imm <= kMaxRegister)
    return {static_cast<uint8_t>(e.imm), e.src, e.off, 0};
  return {e.dst, e.src, e.off, e.imm};
}

const char* name_of_field(unsigned fields) {
  return (fields & kDstField) != 0   ? "dst"
         : (fields & kSrcField) != 0 ? "src"
         : (fields & kOffField) != 0 ? "off"
                                     : "imm";
}

std::string unknown(const Encoded& e) {
  if (opcode_index().first[e.opcode] == OpcodeIndex::kNone)
    return fmt::format("unknown opcode 0x{:02x}", e.opcode);
  const Row& r = rows()[opcode_index().first[e.opcode]];
  const char* field = r.key == Key::kOff ? "off" : r.key == Key::kImm ? "imm" : "src";
  return fmt::format("opcode 0x{:02x} does not take {} {:#x}", e.opcode, field, key_of(r.key, e));
}

}  // namespace

int64_t Instruction::target_slot() const {
  const bool by_imm = op == Op::kGotol || op == Op::kCallLocal;
  return static_cast<int64_t>(slot) + 1 + (by_imm ? imm : off);
}

std::expected<std::vector<Instruction>, DecodeError> decode(std::span<const Encoded> program) {
  std::vector<Instruction> out;
  out.reserve(program.size());
  const OpcodeIndex& index = opcode_index();
  for (size_t slot = 0; slot < program.size(); ++slot) {
    const Encoded& e = program[slot];
    const uint8_t found = find_row(index, e);
    if (found == OpcodeIndex::kNone) return refuse(slot, e, unknown(e));
    const Row* r = &kTable[found];
    const OpcodeIndex::Asked& asked = index.of_row[found];
    const Operands o = operands_of(e, r->form);
    if (o.dst > kMaxRegister) return refuse(slot, e, fmt::format("R{} is invalid", o.dst));
    if (r->key != Key::kSrc && o.src > kMaxRegister)
      return refuse(slot, e, fmt::format("R{} is invalid", o.src));
    if (const unsigned unused = field_set(o.dst != 0, o.src != 0, o.off != 0, o.imm != 0) & asked.reserved;
        unused != 0)
      return refuse(slot, e, fmt::format("{} uses reserved field {}", r->name, name_of_field(unused)));
    if ((asked.writes_dst && o.dst == kFramePointer) || (asked.writes_src && o.src == kFramePointer))
      return refuse(slot, e, "frame pointer is read only", EACCES);

    Instruction& i = out.emplace_back(r->op, o.dst, o.src, o.off, static_cast<uint32_t>(slot), o.imm);
    if (r->key == Key::kSrc) i.src = 0;
    if (r->key == Key::kOff && !asked.key_is_operand) i.off = 0;
    if (r->key == Key::kImm && !asked.key_is_operand) i.imm = 0;
    if (r->cls == Class::kLdImm) {
      if (slot + 1 == program.size())
        return refuse(slot, e, "the second slot of the 64-bit immediate is missing");
      const Encoded& high = program[++slot];
      if (high.opcode != 0 || high.dst != 0 || high.src != 0 || high.off != 0)
        return refuse(slot, high, "the second slot of a 64-bit immediate uses reserved fields");
      if ((i.op == Op::kLdMapFd || i.op == Op::kLdMapIdx) && high.imm != 0)
        return refuse(slot, high, "the second immediate of a map reference has to be zero");
      i.imm = static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(high.imm)) << 32 |
                                   static_cast<uint32_t>(o.imm));
    }
  }
  return out;
}

void encode(const Instruction& instruction, std::vector<Encoded>& out) {
  const Row& r = row(instruction.op);
  Encoded e;
  e.opcode = r.opcode;
  e.dst = instruction.dst & 0xf;
  e.src = instruction.src & 0xf;
  e.off = instruction.off;
  e.imm = static_cast<int32_t>(static_cast<uint32_t>(instruction.imm));
  if (!key_is_operand(r)) {
    if (r.key == Key::kOff) e.off = static_cast<int16_t>(r.key_value);
    if (r.key == Key::kImm) e.imm = r.key_value;
    if (r.key == Key::kSrc) e.src = static_cast<uint8_t>(r.key_value & 0xf);
  }
  out.push_back(e);
  if (r.cls == Class::kLdImm) {
    Encoded high;
    high.imm = static_cast<int32_t>(static_cast<uint64_t>(instruction.imm) >> 32);
    out.push_back(high);
  }
}

std::vector<Encoded> encode(std::span<const Instruction> program) {
  std::vector<Encoded> out;
  for (const Instruction& i : program) encode(i, out);
  return out;
}

}  // namespace skep::isa
