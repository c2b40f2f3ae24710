#include "isa/assemble.hpp"

#include <fmt/format.h>

#include <limits>
#include <map>
#include <utility>

#include "isa/cursor.hpp"
#include "isa/spelling.hpp"

namespace skep::isa {
namespace {

template <class E>
constexpr uint8_t index(E value) {
  return static_cast<uint8_t>(value);
}

struct Register {
  uint8_t number = 0;
  uint8_t width = 64;  // 64 for r0 to r10, 32 for w0 to w10
};

// The operand `(u32 *)(r1 + 4)`; the width is 0 where none is written, as in `r1 + 4`.
struct Cell {
  uint8_t width = 0;
  Sign sign = Sign::kUnsigned;
  uint8_t base = 0;
  int16_t off = 0;
};

enum class TargetField : uint8_t { kOff, kImm };

// A reference to a label, resolved when the whole text is read.
struct Fixup {
  size_t instruction;
  TargetField field;
  std::string label;
  uint32_t line;
  uint32_t column;
};

// The first error is kept in error_; what is read after it, up to the end of the statement, does not matter.
class Assembler {
 public:
  Assembler(std::string_view text, const AssembleOptions& options) : cursor_(text), options_(options) {}

  std::expected<std::vector<Instruction>, AssembleError> run() {
    while (!error_ && !cursor_.end()) {
      if (cursor_.end_of_line() || label()) continue;
      statement();
      if (!cursor_.end() && !cursor_.end_of_line()) fail("expected the end of the line");
    }
    for (const Fixup& fixup : fixups_)
      if (!error_) resolve(fixup);
    if (error_) return std::unexpected(std::move(*error_));
    return std::move(program_);
  }

 private:
  void fail(std::string message) {
    cursor_.skip_blanks();
    fail_at(cursor_.line(), cursor_.column(), std::move(message));
  }
  void fail_at(uint32_t line, uint32_t column, std::string message) {
    if (!error_) error_ = AssembleError{line, column, std::move(message)};
  }
  void expect(std::string_view symbol) {
    if (!cursor_.accept(symbol)) fail(fmt::format("expected '{}'", symbol));
  }

  // --- output
  // -------------------------------------------------------------------------------------------------

  void emit(Instruction instruction) {
    instruction.slot = slot_;
    slot_ += instruction.slots();
    program_.push_back(instruction);
  }

  // Emits the row with these properties. The table is the only list of what exists.
  void emit_row(Class cls, uint8_t operation, unsigned width, Source source, Instruction operands) {
    for (const Row& r : rows()) {
      if (r.cls != cls || r.operation != operation || r.width != width || r.source != source) continue;
      operands.op = r.op;
      return emit(operands);
    }
    fail("there is no such instruction");
  }

  // --- labels
  // -------------------------------------------------------------------------------------------------

  bool label() {
    const Cursor::Mark start = cursor_.mark();
    const std::string_view name = cursor_.name();
    if (name.empty() || !cursor_.accept(":")) {
      cursor_.back_to(start);
      return false;
    }
    if (!labels_.emplace(name, slot_).second) {
      cursor_.back_to(start);
      fail(fmt::format("label '{}' is defined twice", name));
    }
    return true;
  }

  void refer(TargetField field, std::string_view label) {
    fixups_.push_back({program_.size(), field, std::string(label), cursor_.line(),
                       cursor_.column() - static_cast<uint32_t>(label.size())});
  }

  void resolve(const Fixup& fixup) {
    Instruction& i = program_[fixup.instruction];
    const auto found = labels_.find(fixup.label);
    if (found == labels_.end()) return resolve_helper(fixup, i);
    const int64_t distance = int64_t{found->second} - int64_t{i.slot} - 1;
    if (fixup.field == TargetField::kImm) {
      i.imm = i.op == Op::kLdFunc ? both_slots(distance, 0) : distance;
    } else if (distance == static_cast<int16_t>(distance)) {
      i.off = static_cast<int16_t>(distance);
    } else {
      fail_at(fixup.line, fixup.column, fmt::format("label '{}' is too far for 16 bits", fixup.label));
    }
  }

  void resolve_helper(const Fixup& fixup, Instruction& i) {
    std::optional<int32_t> id;
    if (i.op == Op::kCallLocal && options_.helper_id) id = options_.helper_id(fixup.label);
    if (!id) return fail_at(fixup.line, fixup.column, fmt::format("label '{}' is not defined", fixup.label));
    i.op = Op::kCallHelper;
    i.imm = *id;
  }

  // --- operands
  // -----------------------------------------------------------------------------------------------

  std::optional<Register> try_register() {
    const Cursor::Mark start = cursor_.mark();
    const std::string_view name = cursor_.name();
    for (uint8_t number = 0; !name.empty() && number <= kMaxRegister; ++number) {
      if (name.substr(1) != fmt::to_string(number)) continue;
      if (name[0] == 'r' || name[0] == 'R') return Register{number, 64};
      if (name[0] == 'w' || name[0] == 'W') return Register{number, 32};
    }
    cursor_.back_to(start);
    return std::nullopt;
  }
  // The right operand, if it is a register.
  std::optional<Register> try_register_beside(const Register& left) {
    const Cursor::Mark start = cursor_.mark();
    const auto right = try_register();
    if (right && right->width != left.width) {
      cursor_.back_to(start);
      fail("the registers differ in width");
    }
    return right;
  }
  Register any_register() {
    if (const auto reg = try_register()) return *reg;
    fail("expected a register, r0 to r10 or w0 to w10");
    return {};
  }
  uint8_t register_of(unsigned width) {
    const Cursor::Mark start = cursor_.mark();
    const auto reg = try_register();
    if (reg && reg->width == width) return reg->number;
    cursor_.back_to(start);
    fail(width == 64 ? "expected a register, r0 to r10" : "expected a register, w0 to w10");
    return 0;
  }
  void same_register(const Register& reg) {
    const Cursor::Mark start = cursor_.mark();
    const auto other = try_register();
    if (other && other->number == reg.number && other->width == reg.width) return;
    cursor_.back_to(start);
    fail(fmt::format("expected {}{} again", reg.width == 64 ? 'r' : 'w', reg.number));
  }
  // The value of an atomic or an ordered access: a w register below 64 bits, though r is read too.
  uint8_t value_register(unsigned width) { return width == 64 ? register_of(64) : any_register().number; }
  void only_64_bits(const Register& reg) {
    if (reg.width != 64) fail("the instruction takes r registers");
  }

  int64_t number_in(int64_t low, int64_t high) {
    const Cursor::Mark start = cursor_.mark();
    const auto n = cursor_.number();
    const auto value = n ? static_cast<int64_t>(n->bits) : 0;
    const bool beyond = n && !n->negative && value < 0;
    if (n && !beyond && value >= low && value <= high) return value;
    cursor_.back_to(start);
    fail(n ? fmt::format("the number does not lie between {} and {}", low, high) : "expected a number");
    return 0;
  }
  int64_t immediate() {
    const int64_t value =
        number_in(std::numeric_limits<int32_t>::min(), std::numeric_limits<uint32_t>::max());
    return static_cast<int32_t>(static_cast<uint32_t>(value));
  }
  uint64_t long_immediate() {
    const auto n = cursor_.number();
    if (!n) fail("expected a number");
    return n ? n->bits : 0;
  }
  static int64_t both_slots(int64_t low, int64_t high) {
    return static_cast<int64_t>(static_cast<uint64_t>(high) << 32 | static_cast<uint32_t>(low));
  }

  // `r1 + 4`, `r1 - 4` or `r1`
  void base_and_offset(Cell& cell) {
    cell.base = register_of(64);
    if (cursor_.accept("+"))
      cell.off = static_cast<int16_t>(number_in(-0x8000, 0x7fff));
    else if (cursor_.accept("-"))
      cell.off = static_cast<int16_t>(-number_in(-0x7fff, 0x8000));
  }

  // `(u32 *)`
  void type(Cell& cell) {
    expect("(");
    for (const unsigned width : {8U, 16U, 32U, 64U}) {
      for (const char sign : {'u', 's'}) {
        if (!cursor_.accept_word(fmt::format("{}{}", sign, width))) continue;
        cell.width = static_cast<uint8_t>(width);
        cell.sign = sign == 's' ? Sign::kSigned : Sign::kUnsigned;
        expect("*");
        return expect(")");
      }
    }
    fail("expected a type, u8 to u64 or s8 to s64");
  }
  // `(u32 *)(r1 + 4)`
  Cell unsigned_cell() {
    Cell cell;
    type(cell);
    if (cell.sign == Sign::kSigned) fail("expected an unsigned type");
    expect("(");
    base_and_offset(cell);
    expect(")");
    return cell;
  }

  // A jump's target: an offset between low and high, or a label, which leaves 0 and a fixup.
  int64_t target(TargetField field, int64_t low, int64_t high) {
    const Cursor::Mark start = cursor_.mark();
    const std::string_view name = cursor_.name();
    if (!name.empty() && name != "pc") {
      refer(field, name);
      return 0;
    }
    if (name.empty()) cursor_.back_to(start);
    const int64_t distance = number_in(low, high);
    if (cursor_.accept("<")) cursor_.skip_past('>');
    return distance;
  }
  int16_t short_target() { return static_cast<int16_t>(target(TargetField::kOff, -0x8000, 0x7fff)); }
  int64_t long_target() {
    return target(TargetField::kImm, std::numeric_limits<int32_t>::min(),
                  std::numeric_limits<int32_t>::max());
  }

  // The longest of these operations' spellings that stands here.
  template <class Operation>
  std::optional<Operation> operation(Operation first, Operation last) {
    std::optional<Operation> best;
    const Cursor::Mark start = cursor_.mark();
    for (uint8_t i = index(first); i <= index(last); ++i) {
      const auto candidate = static_cast<Operation>(i);
      const bool longer = !best || spelling(candidate).size() > spelling(*best).size();
      if (longer && cursor_.accept(spelling(candidate))) best = candidate;
      cursor_.back_to(start);
    }
    if (best) cursor_.accept(spelling(*best));
    return best;
  }

  // --- statements
  // ---------------------------------------------------------------------------------------------

  void statement() {
    if (cursor_.accept_word("exit")) return emit({Op::kExit, 0, 0, 0, 0, 0});
    if (cursor_.accept_word("goto")) return emit({Op::kGoto, 0, 0, short_target(), 0, 0});
    if (cursor_.accept_word("may_goto")) return emit({Op::kMayGoto, 0, 0, short_target(), 0, 0});
    if (cursor_.accept_word("gotol")) return emit({Op::kGotol, 0, 0, 0, 0, long_target()});
    if (cursor_.accept_word("callx")) return emit({Op::kCallReg, register_of(64), 0, 0, 0, 0});
    if (cursor_.accept_word("if")) return conditional();
    if (cursor_.accept_word("call")) return call();
    if (cursor_.accept_word("lock")) return locked();
    if (cursor_.accept_word("store_release")) return store_release();
    if (cursor_.accept_word("ld_pseudo")) return load_pseudo();
    if (cursor_.accept("*")) return store();
    if (const auto dst = try_register()) return assignment(*dst);
    fail("expected an instruction");
  }

  void conditional() {
    const Register left = any_register();
    const auto condition = operation(Condition::kEq, Condition::kSle);
    if (!condition) return fail("expected a comparison");
    Instruction i{Op::kExit, left.number, 0, 0, 0, 0};
    const auto right = try_register_beside(left);
    if (right) {
      i.src = right->number;
    } else {
      i.imm = immediate();
    }
    if (!cursor_.accept_word("goto")) fail("expected 'goto'");
    i.off = short_target();
    emit_row(Class::kJump, index(*condition), left.width, right ? Source::kReg : Source::kImm, i);
  }

  void call() {
    const Cursor::Mark start = cursor_.mark();
    const std::string_view name = cursor_.name();
    if (name.empty()) return emit({Op::kCallHelper, 0, 0, 0, 0, immediate()});
    // Anywhere else a '#' begins a comment.
    if (cursor_.accept_here('#')) {
      if (name == "kfunc") return call_kfunc();
      return emit({Op::kCallHelper, 0, 0, 0, 0, immediate()});
    }
    cursor_.back_to(start);
    emit({Op::kCallLocal, 0, 0, 0, 0, long_target()});
  }
  void call_kfunc() {
    Instruction i{Op::kCallKfunc, 0, 0, 0, 0, immediate()};
    if (cursor_.accept(",")) i.off = static_cast<int16_t>(number_in(-0x8000, 0x7fff));
    emit(i);
  }

  void locked() {
    expect("*");
    const Cell cell = unsigned_cell();
    const auto op = operation(AtomicOp::kAdd, AtomicOp::kXor);
    if (!op) return fail("expected '+=', '|=', '&=' or '^='");
    const uint8_t value = value_register(cell.width);
    emit_row(Class::kAtomic, index(*op), cell.width, Source::kReg,
             {Op::kExit, cell.base, value, cell.off, 0, 0});
  }

  void store_release() {
    expect("(");
    const Cell cell = unsigned_cell();
    expect(",");
    const uint8_t value = value_register(cell.width);
    expect(")");
    emit_row(Class::kOrdered, index(Direction::kStore), cell.width, Source::kReg,
             {Op::kExit, cell.base, value, cell.off, 0, 0});
  }

  void store() {
    const Cell cell = unsigned_cell();
    expect("=");
    Instruction i{Op::kExit, cell.base, 0, cell.off, 0, 0};
    const auto value = try_register();
    if (value && value->width == 32 && cell.width == 64) fail("a store of 64 bits takes an r register");
    if (value)
      i.src = value->number;
    else
      i.imm = immediate();
    emit_row(Class::kStore, 0, cell.width, value ? Source::kReg : Source::kImm, i);
  }

  void load_pseudo() {
    const uint8_t dst = register_of(64);
    expect(",");
    const int64_t kind = number_in(0, 15);
    expect(",");
    const auto value = static_cast<int64_t>(long_immediate());
    for (const Row& r : rows())
      if (r.cls == Class::kLdImm && r.key_value == kind) return emit({r.op, dst, 0, 0, 0, value});
    fail("there is no such kind of 64-bit immediate");
  }

  // --- REGISTER = ...
  // -----------------------------------------------------------------------------------------

  void assignment(const Register& dst) {
    const auto op = operation(AluOp::kAdd, AluOp::kSmod);
    if (!op || *op == AluOp::kNeg) return fail("expected an operator");
    if (*op == AluOp::kMov && move(dst)) return;
    Instruction i{Op::kExit, dst.number, 0, 0, 0, 0};
    const auto src = try_register_beside(dst);
    if (src)
      i.src = src->number;
    else
      i.imm = immediate();
    emit_row(Class::kAlu, index(*op), dst.width, src ? Source::kReg : Source::kImm, i);
  }

  // What `=` begins, unless it is a plain move.
  bool move(const Register& dst) {
    const Cursor::Mark start = cursor_.mark();
    if (try_register()) return cursor_.back_to(start), false;
    if (const auto op = operation(AluOp::kMovsx8, AluOp::kMovsx32)) return extension(dst, *op), true;
    if (cursor_.accept("*")) return load(dst), true;
    if (const std::string_view name = cursor_.name(); !name.empty()) {
      if (function(dst, name)) return true;
      cursor_.back_to(start);
      return fail("expected a register, a number or an operation"), true;
    }
    if (cursor_.accept("-") && try_register()) return cursor_.back_to(start), negation(dst), true;
    cursor_.back_to(start);
    const auto value = cursor_.number();
    if (value && cursor_.accept_word("ll")) {
      only_64_bits(dst);
      return emit({Op::kLdImm64, dst.number, 0, 0, 0, static_cast<int64_t>(value->bits)}), true;
    }
    cursor_.back_to(start);
    return false;
  }

  void extension(const Register& dst, AluOp op) {
    const uint8_t src = register_of(dst.width);
    emit_row(Class::kAlu, index(op), dst.width, Source::kReg, {Op::kExit, dst.number, src, 0, 0, 0});
  }
  void negation(const Register& dst) {
    expect("-");
    same_register(dst);
    emit_row(Class::kAlu, index(AluOp::kNeg), dst.width, Source::kNone, {Op::kExit, dst.number, 0, 0, 0, 0});
  }
  void byte_order(const Register& dst, AluOp op) {
    only_64_bits(dst);
    same_register(dst);
    emit_row(Class::kAlu, index(op), 64, Source::kNone, {Op::kExit, dst.number, 0, 0, 0, 0});
  }

  void load(const Register& dst) {
    Cell cell;
    type(cell);
    if (cursor_.accept_word("skb")) return packet(dst, cell);
    expect("(");
    base_and_offset(cell);
    expect(")");
    if (cell.width == 64 || cell.sign == Sign::kSigned) only_64_bits(dst);
    emit_row(Class::kLoad, index(cell.sign), cell.width, Source::kReg,
             {Op::kExit, dst.number, cell.base, cell.off, 0, 0});
  }

  // `[14]`, `[r1]` or `[r1 + 14]`
  void packet(const Register& dst, const Cell& cell) {
    if (dst.number != 0) fail("a packet load leaves its value in r0");
    if (cell.sign == Sign::kSigned) fail("expected an unsigned type");
    expect("[");
    Instruction i{Op::kExit, 0, 0, 0, 0, 0};
    const auto base = try_register();
    if (base) i.src = base->number;
    if (base && cursor_.accept("-"))
      i.imm = -number_in(0, int64_t{1} << 31);
    else if (!base || cursor_.accept("+"))
      i.imm = immediate();
    expect("]");
    emit_row(Class::kPacket, index(base ? PacketMode::kInd : PacketMode::kAbs), cell.width,
             base ? Source::kReg : Source::kNone, i);
  }

  // What a name after `=` begins; false if nothing does.
  bool function(const Register& dst, std::string_view name) {
    for (uint8_t i = index(AluOp::kLe16); i <= index(AluOp::kBswap64); ++i)
      if (name == spelling(static_cast<AluOp>(i))) return byte_order(dst, static_cast<AluOp>(i)), true;
    if (name == "load_acquire") return load_acquire(dst), true;
    if (name == "map_val") return map_value(dst), true;
    for (const Op op : {Op::kLdMapFd, Op::kLdMapIdx, Op::kLdBtfId, Op::kLdFunc})
      if (name == reference_spelling(op)) return reference(dst, op), true;
    for (uint8_t i = index(AtomicOp::kFetchAdd); i <= index(AtomicOp::kCmpxchg); ++i)
      for (const unsigned width : {32U, 64U})
        if (names_atomic(name, static_cast<AtomicOp>(i), width))
          return fetching(dst, static_cast<AtomicOp>(i), width), true;
    return false;
  }

  // LLVM's names and the kernel's. LLVM names the fetching arithmetic alike at both widths.
  static bool names_atomic(std::string_view name, AtomicOp op, unsigned width) {
    const std::string_view plain = spelling(op);
    if (op < AtomicOp::kXchg) {
      const std::string_view rest = plain.substr(std::string_view("atomic").size());
      return name == plain || (width == 64 && name == fmt::format("atomic64{}", rest));
    }
    return name == fmt::format("{}{}", plain, exchange_suffix(width)) ||
           name == fmt::format("atomic{}_{}", width == 64 ? "64" : "", plain);
  }

  void fetching(const Register& dst, AtomicOp op, unsigned named_width) {
    expect("(");
    Cell cell;
    const Cursor::Mark start = cursor_.mark();
    const bool typed = cursor_.accept("(");
    cursor_.back_to(start);
    if (typed)
      cell = unsigned_cell();
    else
      base_and_offset(cell);
    // The fetching arithmetic says its width in the type alone.
    const unsigned width = op < AtomicOp::kXchg ? cell.width : named_width;
    if (typed ? cell.width != width : op < AtomicOp::kXchg) fail("expected a type as wide as the operation");
    expect(",");
    const bool compares = op == AtomicOp::kCmpxchg;
    if (compares) {
      if (value_register(width) != 0) fail("cmpxchg compares with r0");
      expect(",");
    }
    const uint8_t value = value_register(width);
    expect(")");
    if (width == 64) only_64_bits(dst);
    if (dst.number != (compares ? 0 : value))
      fail(compares ? "cmpxchg leaves the old value in r0"
                    : "the old value is left in the register that held the new one");
    emit_row(Class::kAtomic, index(op), width, Source::kReg, {Op::kExit, cell.base, value, cell.off, 0, 0});
  }

  void load_acquire(const Register& dst) {
    expect("(");
    const Cell cell = unsigned_cell();
    expect(")");
    if (cell.width == 64) only_64_bits(dst);
    emit_row(Class::kOrdered, index(Direction::kLoad), cell.width, Source::kReg,
             {Op::kExit, dst.number, cell.base, cell.off, 0, 0});
  }

  // `map_by_fd(5)`, `var_addr(7, 1)`, `code_addr(+3)`, `code_addr(label)`
  void reference(const Register& dst, Op op) {
    only_64_bits(dst);
    expect("(");
    const int64_t low = op == Op::kLdFunc ? long_target() : immediate();
    const int64_t high = cursor_.accept(",") ? immediate() : 0;
    expect(")");
    emit({op, dst.number, 0, 0, 0, both_slots(low, high)});
  }

  // `map_val(map_by_fd(5)) + 8`
  void map_value(const Register& dst) {
    only_64_bits(dst);
    expect("(");
    const std::string_view name = cursor_.name();
    const Op op = name == reference_spelling(Op::kLdMapIdxValue) ? Op::kLdMapIdxValue : Op::kLdMapValue;
    if (name != reference_spelling(op)) fail("expected map_by_fd or map_by_idx");
    expect("(");
    const int64_t map = immediate();
    expect(")");
    expect(")");
    const int64_t off = cursor_.accept("+") ? immediate() : 0;
    emit({op, dst.number, 0, 0, 0, both_slots(map, off)});
  }

  Cursor cursor_;
  const AssembleOptions& options_;
  std::optional<AssembleError> error_;
  std::vector<Instruction> program_;
  uint32_t slot_ = 0;
  std::map<std::string, uint32_t, std::less<>> labels_;
  std::vector<Fixup> fixups_;
};

}  // namespace

std::expected<std::vector<Instruction>, AssembleError> assemble(std::string_view text,
                                                                const AssembleOptions& options) {
  return Assembler(text, options).run();
}

}  // namespace skep::isa
