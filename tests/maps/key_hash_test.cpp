#include "maps/key_hash.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numeric>
#include <vector>

namespace skep::maps {
namespace {

TEST(KeyHash, DependsOnEveryByteAndOnTheSeed) {
  for (size_t size = 1; size <= 40; ++size) {
    std::vector<uint8_t> key(size, 0);
    const uint32_t zero = hash_key(key.data(), size, expand_seed(1));
    EXPECT_NE(zero, hash_key(key.data(), size, expand_seed(2)));
    for (size_t byte = 0; byte < size; ++byte) {
      key[byte] = 1;
      EXPECT_NE(zero, hash_key(key.data(), size, expand_seed(1))) << "byte " << byte << " of " << size;
      key[byte] = 0;
    }
  }
}

// Fills 1024 buckets with 1024 keys that differ as programs' keys do; a random function leaves no bucket with
// more than a dozen.
void expect_spread(size_t size, unsigned shift) {
  std::array<unsigned, 1024> buckets{};
  for (uint64_t i = 0; i < 1024; ++i) {
    std::array<uint8_t, 16> key{};
    const uint64_t number = i << shift;
    std::memcpy(key.data() + (size > 8 ? size - 8 : 0), &number, std::min<size_t>(size, 8));
    ++buckets[hash_key(key.data(), size, expand_seed(0)) % buckets.size()];
  }
  EXPECT_LE(std::ranges::max(buckets), 12U) << "size " << size << " shift " << shift;
}

TEST(KeyHash, SpreadsCountersAndShiftedCounters) {
  for (const size_t size : {4U, 8U, 16U}) {
    for (unsigned shift = 0; shift + 10 <= std::min<size_t>(size, 8) * 8; ++shift) expect_spread(size, shift);
  }
}

TEST(KeyHash, OneBitChangesHalfOfTheHash) {
  for (const size_t size : {4U, 8U, 13U, 16U}) {
    unsigned changed = 0;
    unsigned trials = 0;
    for (uint8_t sample = 0; sample < 32; ++sample) {
      std::array<uint8_t, 16> key{};
      std::iota(key.begin(), key.end(), sample);
      const uint32_t before = hash_key(key.data(), size, expand_seed(9));
      for (size_t bit = 0; bit < size * 8; ++bit) {
        key[bit / 8] = static_cast<uint8_t>(key[bit / 8] ^ 1U << bit % 8);
        changed += static_cast<unsigned>(std::popcount(before ^ hash_key(key.data(), size, expand_seed(9))));
        ++trials;
        key[bit / 8] = static_cast<uint8_t>(key[bit / 8] ^ 1U << bit % 8);
      }
    }
    const double average = static_cast<double>(changed) / trials;
    EXPECT_GT(average, 15.0) << size;
    EXPECT_LT(average, 17.0) << size;
  }
}

TEST(KeyHash, KeysAreComparedInFull) {
  for (size_t size = 1; size <= 20; ++size) {
    std::array<uint8_t, 20> left{};
    std::array<uint8_t, 20> right{};
    EXPECT_TRUE(same_key(left.data(), right.data(), size));
    right[size - 1] = 1;
    EXPECT_FALSE(same_key(left.data(), right.data(), size));
    EXPECT_TRUE(same_key(left.data(), right.data(), size - 1));
  }
}

}  // namespace
}  // namespace skep::maps
