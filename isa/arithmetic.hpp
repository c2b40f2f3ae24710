#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "isa/instruction.hpp"

// What the operations compute (RFC 9669 sections 4.1 to 4.3 and 5.3), once: the interpreter calls these
// functions, the verifier folds constants with them, and tests hold the JIT against them. T is uint32_t or
// uint64_t.
namespace skep::isa {

template <class T>
concept Word = std::same_as<T, uint32_t> || std::same_as<T, uint64_t>;

template <class Narrow, Word T>
constexpr T sign_extend(T value) {
  return static_cast<T>(static_cast<std::make_signed_t<T>>(static_cast<Narrow>(value)));
}

template <Word T>
constexpr T byte_swap(T value, unsigned bits) {
  T out = 0;
  for (unsigned i = 0; i < bits; i += 8) out = (out << 8) | ((value >> i) & 0xff);
  return out;
}

// Division by zero yields 0 and modulo by zero leaves the dividend; INT_MIN / -1 overflows back to INT_MIN.
template <Word T>
constexpr T divide_signed(T dst, T src) {
  if (src == 0) return 0;
  if (src == static_cast<T>(-1)) return T{0} - dst;
  using S = std::make_signed_t<T>;
  return static_cast<T>(static_cast<S>(dst) / static_cast<S>(src));
}
template <Word T>
constexpr T modulo_signed(T dst, T src) {
  if (src == 0) return dst;
  if (src == static_cast<T>(-1)) return 0;
  using S = std::make_signed_t<T>;
  return static_cast<T>(static_cast<S>(dst) % static_cast<S>(src));
}

// The new value of dst. Unary operations ignore src; moves ignore dst. Shift counts are taken modulo the
// width.
template <AluOp op, Word T>
constexpr T alu(T dst, T src) {
  constexpr T kShiftMask = std::numeric_limits<T>::digits - 1;
  if constexpr (op == AluOp::kAdd) return dst + src;
  if constexpr (op == AluOp::kSub) return dst - src;
  if constexpr (op == AluOp::kMul) return dst * src;
  if constexpr (op == AluOp::kDiv) return src == 0 ? 0 : dst / src;
  if constexpr (op == AluOp::kMod) return src == 0 ? dst : dst % src;
  if constexpr (op == AluOp::kSdiv) return divide_signed(dst, src);
  if constexpr (op == AluOp::kSmod) return modulo_signed(dst, src);
  if constexpr (op == AluOp::kOr) return dst | src;
  if constexpr (op == AluOp::kAnd) return dst & src;
  if constexpr (op == AluOp::kXor) return dst ^ src;
  if constexpr (op == AluOp::kLsh) return dst << (src & kShiftMask);
  if constexpr (op == AluOp::kRsh) return dst >> (src & kShiftMask);
  if constexpr (op == AluOp::kArsh)
    return static_cast<T>(static_cast<std::make_signed_t<T>>(dst) >> (src & kShiftMask));
  if constexpr (op == AluOp::kNeg) return T{0} - dst;
  if constexpr (op == AluOp::kMov) return src;
  if constexpr (op == AluOp::kMovsx8) return sign_extend<int8_t>(src);
  if constexpr (op == AluOp::kMovsx16) return sign_extend<int16_t>(src);
  if constexpr (op == AluOp::kMovsx32) return sign_extend<int32_t>(src);
  // skep runs on little-endian hosts alone: a conversion to little endian is a truncation.
  if constexpr (op == AluOp::kLe16) return dst & 0xffff;
  if constexpr (op == AluOp::kLe32) return dst & 0xffffffff;
  if constexpr (op == AluOp::kLe64) return dst;
  if constexpr (op == AluOp::kBe16 || op == AluOp::kBswap16) return byte_swap(dst, 16);
  if constexpr (op == AluOp::kBe32 || op == AluOp::kBswap32) return byte_swap(dst, 32);
  if constexpr (op == AluOp::kBe64 || op == AluOp::kBswap64) return byte_swap(dst, 64);
}

template <Condition condition, Word T>
constexpr bool holds(T dst, T src) {
  using S = std::make_signed_t<T>;
  const auto sd = static_cast<S>(dst);
  const auto ss = static_cast<S>(src);
  if constexpr (condition == Condition::kEq) return dst == src;
  if constexpr (condition == Condition::kNe) return dst != src;
  if constexpr (condition == Condition::kGt) return dst > src;
  if constexpr (condition == Condition::kGe) return dst >= src;
  if constexpr (condition == Condition::kLt) return dst < src;
  if constexpr (condition == Condition::kLe) return dst <= src;
  if constexpr (condition == Condition::kSet) return (dst & src) != 0;
  if constexpr (condition == Condition::kSgt) return sd > ss;
  if constexpr (condition == Condition::kSge) return sd >= ss;
  if constexpr (condition == Condition::kSlt) return sd < ss;
  if constexpr (condition == Condition::kSle) return sd <= ss;
}

}  // namespace skep::isa
