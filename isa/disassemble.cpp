#include "isa/disassemble.hpp"

#include <fmt/format.h>

#include "isa/spelling.hpp"

namespace skep::isa {
namespace {

std::string reg(unsigned number, unsigned width = 64) {
  return fmt::format("{}{}", width == 64 ? 'r' : 'w', number);
}

std::string address(unsigned base, int off) {
  return off < 0 ? fmt::format("r{} - {}", base, -off) : fmt::format("r{} + {}", base, off);
}

std::string cell(char sign, unsigned width, unsigned base, int off) {
  return fmt::format("({}{} *)({})", sign, width, address(base, off));
}

std::string alu(const Instruction& i, const Row& r) {
  const std::string dst = reg(i.dst, r.width);
  if (r.source == Source::kNone)
    return fmt::format("{} = {}{}{}", dst, spelling(r.alu()), r.alu() == AluOp::kNeg ? "" : " ", dst);
  if (r.source == Source::kImm) return fmt::format("{} {} {}", dst, spelling(r.alu()), i.imm);
  const bool extends = r.alu() >= AluOp::kMovsx8 && r.alu() <= AluOp::kMovsx32;
  if (extends) return fmt::format("{} = {}{}", dst, spelling(r.alu()), reg(i.src, r.width));
  return fmt::format("{} {} {}", dst, spelling(r.alu()), reg(i.src, r.width));
}

std::string jump(const Instruction& i, const Row& r) {
  const std::string right = r.source == Source::kImm ? fmt::to_string(i.imm) : reg(i.src, r.width);
  return fmt::format("if {} {} {} goto {:+}", reg(i.dst, r.width), spelling(r.condition()), right, i.off);
}

std::string load(const Instruction& i, const Row& r) {
  return fmt::format("{} = *{}", reg(i.dst), cell(r.is_signed() ? 's' : 'u', r.width, i.src, i.off));
}

std::string store(const Instruction& i, const Row& r) {
  const std::string value = r.source == Source::kImm ? fmt::to_string(i.imm) : reg(i.src);
  return fmt::format("*{} = {}", cell('u', r.width, i.dst, i.off), value);
}

std::string atomic(const Instruction& i, const Row& r) {
  const std::string value = reg(i.src, r.width);
  const std::string_view name = spelling(r.atomic());
  if (!fetches(r.atomic()))
    return fmt::format("lock *{} {} {}", cell('u', r.width, i.dst, i.off), name, value);
  if (r.atomic() == AtomicOp::kXchg)
    return fmt::format("{} = {}{}({}, {})", value, name, exchange_suffix(r.width), address(i.dst, i.off),
                       value);
  if (r.atomic() == AtomicOp::kCmpxchg)
    return fmt::format("{0} = {1}{2}({3}, {0}, {4})", reg(0, r.width), name, exchange_suffix(r.width),
                       address(i.dst, i.off), value);
  return fmt::format("{} = {}({}, {})", value, name, cell('u', r.width, i.dst, i.off), value);
}

std::string ordered(const Instruction& i, const Row& r) {
  if (r.direction() == Direction::kLoad)
    return fmt::format("{} = load_acquire({})", reg(i.dst, r.width), cell('u', r.width, i.src, i.off));
  return fmt::format("store_release({}, {})", cell('u', r.width, i.dst, i.off), reg(i.src, r.width));
}

std::string load_immediate(const Instruction& i) {
  const std::string dst = reg(i.dst);
  if (i.op == Op::kLdImm64) return fmt::format("{} = {:#x} ll", dst, static_cast<uint64_t>(i.imm));
  const std::string_view name = reference_spelling(i.op);
  const auto low = static_cast<int32_t>(static_cast<uint32_t>(i.imm));
  const auto high = static_cast<uint32_t>(static_cast<uint64_t>(i.imm) >> 32);
  if (i.op == Op::kLdMapValue || i.op == Op::kLdMapIdxValue)
    return fmt::format("{} = map_val({}({})) + {}", dst, name, low, high);
  const std::string number = i.op == Op::kLdFunc ? fmt::format("{:+}", low) : fmt::to_string(low);
  if (high != 0) return fmt::format("{} = {}({}, {})", dst, name, number, high);
  return fmt::format("{} = {}({})", dst, name, number);
}

std::string packet(const Instruction& i, const Row& r) {
  if (r.packet_mode() == PacketMode::kAbs) return fmt::format("r0 = *(u{} *)skb[{}]", r.width, i.imm);
  if (i.imm == 0) return fmt::format("r0 = *(u{} *)skb[{}]", r.width, reg(i.src));
  const char sign = i.imm < 0 ? '-' : '+';
  const int64_t distance = i.imm < 0 ? -i.imm : i.imm;
  return fmt::format("r0 = *(u{} *)skb[{} {} {}]", r.width, reg(i.src), sign, distance);
}

std::string helper_call(const Instruction& i, const DisassembleOptions& options) {
  const std::string_view name =
      options.helper_name ? options.helper_name(static_cast<int32_t>(i.imm)) : std::string_view();
  return name.empty() ? fmt::format("call {}", i.imm) : fmt::format("call {}#{}", name, i.imm);
}

std::string control(const Instruction& i, const Row& r, const DisassembleOptions& options) {
  switch (r.form) {
    case Form::kGoto:
      return fmt::format("goto {:+}", i.off);
    case Form::kGotol:
      return fmt::format("gotol {:+}", i.imm);
    case Form::kMayGoto:
      return fmt::format("may_goto {:+}", i.off);
    case Form::kCall:
      return i.op == Op::kCallLocal ? fmt::format("call pc{:+}", i.imm) : helper_call(i, options);
    case Form::kCallKfunc:
      return i.off == 0 ? fmt::format("call kfunc#{}", i.imm)
                        : fmt::format("call kfunc#{}, {}", i.imm, i.off);
    case Form::kCallReg:
      return fmt::format("callx {}", reg(i.dst));
    case Form::kExit:
    case Form::kDst:
    case Form::kDstImm:
    case Form::kDstReg:
    case Form::kJumpImm:
    case Form::kJumpReg:
    case Form::kLoad:
    case Form::kStoreImm:
    case Form::kStoreReg:
    case Form::kLdImm64:
    case Form::kAbs:
    case Form::kInd:
      return "exit";
  }
  return "";
}

std::string text_of(const Instruction& i, const DisassembleOptions& options) {
  const Row& r = row(i.op);
  switch (r.cls) {
    case Class::kAlu:
      return alu(i, r);
    case Class::kJump:
      return jump(i, r);
    case Class::kLoad:
      return load(i, r);
    case Class::kStore:
      return store(i, r);
    case Class::kAtomic:
      return atomic(i, r);
    case Class::kOrdered:
      return ordered(i, r);
    case Class::kLdImm:
      return load_immediate(i);
    case Class::kPacket:
      return packet(i, r);
    case Class::kControl:
      return control(i, r, options);
  }
  return "";
}

bool refers(Op op) {
  return op == Op::kCallLocal || op == Op::kCallKfunc || (row(op).cls == Class::kLdImm && op != Op::kLdImm64);
}

}  // namespace

std::string disassemble(const Instruction& instruction, const DisassembleOptions& options) {
  std::string text = text_of(instruction, options);
  if (options.reference && refers(instruction.op)) {
    const std::string target = options.reference(instruction);
    if (!target.empty()) text += " // " + target;
  }
  return text;
}

}  // namespace skep::isa
