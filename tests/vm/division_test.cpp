#include "vm/division.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "isa/arithmetic.hpp"
#include "vm/random.hpp"

namespace skep::vm {
namespace {

using isa::AluOp;

// Values around which a quotient changes, and others.
template <class T>
std::vector<T> dividends(int32_t divisor) {
  using Limits = std::numeric_limits<T>;
  const auto d = static_cast<T>(static_cast<std::make_signed_t<T>>(divisor));
  std::vector<T> out{0, 1, 2, Limits::max(), Limits::max() - 1, Limits::max() / 2, Limits::max() / 2 + 1};
  const T last = static_cast<T>(Limits::max() / d * d);
  for (const T middle : {d, static_cast<T>(T{0} - d), static_cast<T>(d * 1000), last})
    for (const int step : {-1, 0, 1}) out.push_back(static_cast<T>(middle + static_cast<T>(step)));
  Random random(static_cast<uint64_t>(divisor));
  for (int n = 0; n < 40; ++n) out.push_back(static_cast<T>(random.next() >> (n % 33)));
  return out;
}

std::vector<int32_t> divisors() {
  std::vector<int32_t> out;
  for (int32_t n = 2; n < 1200; ++n) out.push_back(n);
  for (int shift = 10; shift < 31; ++shift)
    for (const int step : {-1, 0, 1}) out.push_back((1 << shift) + step);
  Random random(9);
  for (int n = 0; n < 1000; ++n)
    out.push_back(static_cast<int32_t>(static_cast<uint32_t>(random.next()) >> (1 + n % 28)) | 2);
  out.push_back(std::numeric_limits<int32_t>::max());
  return out;
}

bool is_power_of_two(int32_t n) { return (n & (n - 1)) == 0; }

template <AluOp op, class T>
void expect_as_divided(int32_t divisor, Magic magic) {
  for (const T x : dividends<T>(divisor)) {
    const T expected = isa::alu<op>(x, static_cast<T>(static_cast<std::make_signed_t<T>>(divisor)));
    ASSERT_EQ((divide_by_magic<op, T>(x, magic, divisor)), expected) << x << " by " << divisor;
  }
}

TEST(Division, Unsigned) {
  for (const int32_t divisor : divisors()) {
    if (is_power_of_two(divisor)) continue;
    const Magic magic = unsigned_magic64(static_cast<uint64_t>(divisor));
    expect_as_divided<AluOp::kDiv, uint64_t>(divisor, magic);
    expect_as_divided<AluOp::kMod, uint64_t>(divisor, magic);
    for (const int32_t d : {divisor, -divisor}) {
      const Magic reciprocal{unsigned_reciprocal32(static_cast<uint32_t>(d)), 0, false};
      expect_as_divided<AluOp::kDiv, uint32_t>(d, reciprocal);
      expect_as_divided<AluOp::kMod, uint32_t>(d, reciprocal);
    }
  }
}

TEST(Division, ShortMultipliersOf32Bits) {
  unsigned found = 0;
  for (const int32_t divisor : divisors()) {
    if (is_power_of_two(divisor)) continue;
    const auto magic = unsigned_magic32(static_cast<uint32_t>(divisor));
    if (!magic) continue;
    ++found;
    for (const uint32_t x : dividends<uint32_t>(divisor))
      ASSERT_EQ(x * magic->multiplier >> 32 >> magic->shift, x / static_cast<uint32_t>(divisor))
          << x << " by " << divisor;
  }
  EXPECT_GT(found, 1000u);
  EXPECT_FALSE(unsigned_magic32(7).has_value());
}

TEST(Division, Signed) {
  for (const int32_t divisor : divisors())
    for (const int32_t d : {divisor, -divisor}) {
      expect_as_divided<AluOp::kSdiv, uint64_t>(d, signed_magic(d, 64));
      expect_as_divided<AluOp::kSmod, uint64_t>(d, signed_magic(d, 64));
      expect_as_divided<AluOp::kSdiv, uint32_t>(d, signed_magic(d, 32));
      expect_as_divided<AluOp::kSmod, uint32_t>(d, signed_magic(d, 32));
    }
  const int32_t least = std::numeric_limits<int32_t>::min();
  expect_as_divided<AluOp::kSdiv, uint64_t>(least, signed_magic(least, 64));
  expect_as_divided<AluOp::kSdiv, uint32_t>(least, signed_magic(least, 32));
}

}  // namespace
}  // namespace skep::vm
