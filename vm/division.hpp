#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "isa/instruction.hpp"

// Division by a constant as a multiplication: x / d is the high part of x * m for the right m, shifted
// (Granlund and Montgomery, "Division by Invariant Integers using Multiplication").
namespace skep::vm {

using Wide = unsigned __int128;
using SignedWide = __int128;

// (x * multiplier) >> width >> shift; with `add` the multiplier has one more bit, which is set.
struct Magic {
  uint64_t multiplier;
  uint8_t shift;
  bool add;
};

// For 64 bits unsigned. The divisor is no power of two, and less than 2^32.
constexpr Magic unsigned_magic64(uint64_t divisor) {
  auto shift = static_cast<unsigned>(std::bit_width(divisor));
  const Wide dividend = Wide{1} << (64 + shift);
  Wide low = dividend / divisor;
  Wide high = (dividend + (Wide{1} << shift)) / divisor;
  for (; shift > 0 && low / 2 < high / 2; --shift) {
    low /= 2;
    high /= 2;
  }
  return {static_cast<uint64_t>(high), static_cast<uint8_t>(shift), high >> 64 != 0};
}

// The same for 32 bits; nullopt: the multiplier has more.
constexpr std::optional<Magic> unsigned_magic32(uint32_t divisor) {
  auto shift = static_cast<unsigned>(std::bit_width(divisor));
  if (shift > 31) return std::nullopt;
  const uint64_t dividend = uint64_t{1} << (32 + shift);
  uint64_t low = dividend / divisor;
  uint64_t high = (dividend + (uint64_t{1} << shift)) / divisor;
  for (; shift > 0 && low / 2 < high / 2; --shift) {
    low /= 2;
    high /= 2;
  }
  if (high >> 32 != 0) return std::nullopt;
  return Magic{high, static_cast<uint8_t>(shift), false};
}

// For 32 bits unsigned without a shift: x / d is the high half of x times this of 64 bits.
constexpr uint64_t unsigned_reciprocal32(uint32_t divisor) { return ~uint64_t{0} / divisor + 1; }

// For numbers with a sign: what it makes is one less than the quotient where x is negative. The divisor is
// not 0, 1 or -1, and its magnitude what counts.
constexpr Magic signed_magic(int32_t divisor, unsigned width) {
  const auto magnitude = static_cast<uint64_t>(divisor < 0 ? -int64_t{divisor} : int64_t{divisor});
  const auto shift = static_cast<unsigned>(std::bit_width(magnitude - 1)) - 1;
  const Wide dividend = Wide{1} << (width + shift);
  return {static_cast<uint64_t>(dividend / magnitude) + 1, static_cast<uint8_t>(shift), false};
}

// x / divisor, or x % divisor, for the operations kDiv, kMod, kSdiv, kSmod; of 32 bits without a sign the
// multiplier is unsigned_reciprocal32().
template <isa::AluOp op, class T>
constexpr T divide_by_magic(T x, Magic magic, int32_t divisor) {
  using isa::AluOp;
  using Signed = std::make_signed_t<T>;
  constexpr unsigned kWidth = sizeof(T) * 8;
  T quotient = 0;
  if constexpr (op == AluOp::kDiv || op == AluOp::kMod) {
    const auto high = static_cast<uint64_t>((Wide{x} * magic.multiplier) >> 64);
    if constexpr (kWidth == 32)
      quotient = static_cast<T>(high);
    else
      quotient = magic.add ? (((x - high) >> 1) + high) >> (magic.shift - 1) : high >> magic.shift;
  } else {
    using Product = std::conditional_t<kWidth == 32, int64_t, SignedWide>;
    const Product product =
        static_cast<Product>(static_cast<Signed>(x)) * static_cast<Product>(magic.multiplier);
    quotient = static_cast<T>(product >> (kWidth + magic.shift)) + (x >> (kWidth - 1));
    if (divisor < 0) quotient = T{0} - quotient;
  }
  if constexpr (op == AluOp::kDiv || op == AluOp::kSdiv)
    return quotient;
  else
    return x - quotient * static_cast<T>(static_cast<Signed>(divisor));
}

}  // namespace skep::vm
