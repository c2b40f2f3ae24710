#pragma once

#include <string_view>

#include "isa/instruction.hpp"

// How operations are written, once, for the assembler and the disassembler.
namespace skep::isa {

// The operator of a binary operation, the cast of a sign-extending move, the prefix of a unary operation.
constexpr std::string_view spelling(AluOp op) {
  switch (op) {
    case AluOp::kAdd:
      return "+=";
    case AluOp::kSub:
      return "-=";
    case AluOp::kMul:
      return "*=";
    case AluOp::kDiv:
      return "/=";
    case AluOp::kOr:
      return "|=";
    case AluOp::kAnd:
      return "&=";
    case AluOp::kLsh:
      return "<<=";
    case AluOp::kRsh:
      return ">>=";
    case AluOp::kNeg:
      return "-";
    case AluOp::kMod:
      return "%=";
    case AluOp::kXor:
      return "^=";
    case AluOp::kMov:
      return "=";
    case AluOp::kArsh:
      return "s>>=";
    case AluOp::kSdiv:
      return "s/=";
    case AluOp::kSmod:
      return "s%=";
    case AluOp::kMovsx8:
      return "(s8)";
    case AluOp::kMovsx16:
      return "(s16)";
    case AluOp::kMovsx32:
      return "(s32)";
    case AluOp::kLe16:
      return "le16";
    case AluOp::kLe32:
      return "le32";
    case AluOp::kLe64:
      return "le64";
    case AluOp::kBe16:
      return "be16";
    case AluOp::kBe32:
      return "be32";
    case AluOp::kBe64:
      return "be64";
    case AluOp::kBswap16:
      return "bswap16";
    case AluOp::kBswap32:
      return "bswap32";
    case AluOp::kBswap64:
      return "bswap64";
  }
  return "";
}

constexpr std::string_view spelling(Condition condition) {
  switch (condition) {
    case Condition::kEq:
      return "==";
    case Condition::kGt:
      return ">";
    case Condition::kGe:
      return ">=";
    case Condition::kSet:
      return "&";
    case Condition::kNe:
      return "!=";
    case Condition::kSgt:
      return "s>";
    case Condition::kSge:
      return "s>=";
    case Condition::kLt:
      return "<";
    case Condition::kLe:
      return "<=";
    case Condition::kSlt:
      return "s<";
    case Condition::kSle:
      return "s<=";
  }
  return "";
}

// The operator of an operation that fetches nothing, the function name of one that does.
constexpr std::string_view spelling(AtomicOp op) {
  switch (op) {
    case AtomicOp::kAdd:
      return "+=";
    case AtomicOp::kOr:
      return "|=";
    case AtomicOp::kAnd:
      return "&=";
    case AtomicOp::kXor:
      return "^=";
    case AtomicOp::kFetchAdd:
      return "atomic_fetch_add";
    case AtomicOp::kFetchOr:
      return "atomic_fetch_or";
    case AtomicOp::kFetchAnd:
      return "atomic_fetch_and";
    case AtomicOp::kFetchXor:
      return "atomic_fetch_xor";
    case AtomicOp::kXchg:
      return "xchg";
    case AtomicOp::kCmpxchg:
      return "cmpxchg";
  }
  return "";
}

// LLVM's width suffix of xchg and cmpxchg.
constexpr std::string_view exchange_suffix(unsigned width) { return width == 64 ? "_64" : "32_32"; }

// What a 64-bit immediate other than a plain number stands for, in RFC 9669's pseudocode.
constexpr std::string_view reference_spelling(Op op) {
  if (op == Op::kLdMapFd || op == Op::kLdMapValue) return "map_by_fd";
  if (op == Op::kLdMapIdx || op == Op::kLdMapIdxValue) return "map_by_idx";
  if (op == Op::kLdBtfId) return "var_addr";
  if (op == Op::kLdFunc) return "code_addr";
  return "";
}

}  // namespace skep::isa
