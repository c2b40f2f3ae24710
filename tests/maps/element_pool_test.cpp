#include "maps/element_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "maps/epoch.hpp"

namespace skep::maps {
namespace {

TEST(ElementPool, GivesOutDistinctZeroedElements) {
  EpochDomain epochs(1);
  ElementPool pool(epochs.clock(), {.key_size = 5, .value_size = 12}, 100);
  ASSERT_TRUE(pool.reserved());
  const EpochDomain::CpuGuard guard(epochs, 0);
  std::set<Element*> seen;
  for (int i = 0; i < 100; ++i) {
    Element* element = pool.acquire(pool.cache(0));
    ASSERT_NE(element, nullptr);
    EXPECT_TRUE(seen.insert(element).second);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pool.value(element)) % 8, 0U);
    EXPECT_TRUE(std::all_of(pool.value(element), pool.value(element) + 16,
                            [](std::byte b) { return b == std::byte{}; }));
    std::fill_n(pool.key(element), 5, std::byte{0xff});
    std::fill_n(pool.value(element), 12, std::byte{0xff});
  }
  EXPECT_EQ(pool.chunks(), 1U);
}

TEST(ElementPool, RetiredElementsAreNotReusedInsideTheGuard) {
  EpochDomain epochs(1);
  ElementPool pool(epochs.clock(), {.key_size = 4, .value_size = 8}, 4);
  std::set<Element*> retired;
  {
    const EpochDomain::CpuGuard guard(epochs, 0);
    for (int i = 0; i < 10000; ++i) {
      Element* element = pool.acquire(pool.cache(0));
      ASSERT_NE(element, nullptr);
      ASSERT_FALSE(retired.contains(element));
      retired.insert(element);
      pool.retire(pool.cache(0), element);
    }
  }
  EXPECT_GT(pool.chunks(), 1U);
  // Later guards find them again: the pool has stopped growing.
  const size_t chunks = pool.chunks();
  for (int round = 0; round < 5000; ++round) {
    const EpochDomain::CpuGuard guard(epochs, 0);
    pool.retire(pool.cache(0), pool.acquire(pool.cache(0)));
  }
  EXPECT_EQ(pool.chunks(), chunks);
}

TEST(ElementPool, AReaderHoldsUpReuseAndThePoolGrows) {
  EpochDomain epochs(2);
  ElementPool pool(epochs.clock(), {.key_size = 4, .value_size = 8}, 4);
  const EpochDomain::CpuGuard reader(epochs, 1);
  Element* held = nullptr;
  {
    const EpochDomain::CpuGuard guard(epochs, 0);
    held = pool.acquire(pool.cache(0));
    pool.retire(pool.cache(0), held);
  }
  for (int round = 0; round < 1000; ++round) {
    const EpochDomain::CpuGuard guard(epochs, 0);
    Element* element = pool.acquire(pool.cache(0));
    ASSERT_NE(element, nullptr);
    ASSERT_NE(element, held);
    pool.retire(pool.cache(0), element);
  }
}

TEST(ElementPool, HotElementsAreRecycledBeforeFreshOnesAreTouched) {
  EpochDomain epochs(1);
  ElementPool pool(epochs.clock(), {.key_size = 4, .value_size = 8}, 1 << 20);
  std::set<Element*> seen;
  for (int round = 0; round < 10000; ++round) {
    const EpochDomain::CpuGuard guard(epochs, 0);
    Element* element = pool.acquire(pool.cache(0));
    seen.insert(element);
    pool.retire(pool.cache(0), element);
  }
  EXPECT_LT(seen.size(), 1000U);
}

TEST(ElementPool, FindsTheValueThatHoldsAnAddress) {
  EpochDomain epochs(1);
  ElementPool pool(epochs.clock(), {.key_size = 4, .value_size = 12}, 0);
  const EpochDomain::CpuGuard guard(epochs, 0);
  std::vector<Element*> elements;
  elements.reserve(500);
  for (int i = 0; i < 500; ++i) elements.push_back(pool.acquire(pool.cache(0)));
  EXPECT_GT(pool.chunks(), 2U);
  for (Element* element : elements) {
    const auto begin = reinterpret_cast<uintptr_t>(pool.value(element));
    for (const uintptr_t offset : {0U, 1U, 11U}) {
      const MemoryRange range = pool.value_containing(begin + offset);
      EXPECT_EQ(range.begin, begin);
      EXPECT_EQ(range.size, 12U);
    }
    EXPECT_EQ(pool.value_containing(begin + 12).size, 0U);  // padding
    EXPECT_EQ(pool.value_containing(begin - 1).size, 0U);   // the key's padding
    EXPECT_EQ(pool.value_containing(reinterpret_cast<uintptr_t>(element)).size, 0U);
  }
  const int local = 0;
  EXPECT_EQ(pool.value_containing(reinterpret_cast<uintptr_t>(&local)).size, 0U);
}

TEST(ElementPool, PerCpuValuesLieApart) {
  EpochDomain epochs(1);
  ElementPool pool(epochs.clock(), {.key_size = 4, .value_size = 12, .cpu_values = 3}, 10);
  const EpochDomain::CpuGuard guard(epochs, 0);
  Element* first = pool.acquire(pool.cache(0));
  Element* second = pool.acquire(pool.cache(0));
  std::set<uintptr_t> begins;
  for (const Element* element : {first, second}) {
    for (unsigned cpu = 0; cpu < 3; ++cpu) {
      const auto begin = reinterpret_cast<uintptr_t>(pool.value(element, cpu));
      EXPECT_TRUE(begins.insert(begin).second);
      EXPECT_EQ(begin % 8, 0U);
      EXPECT_EQ(pool.value_containing(begin + 11).begin, begin);
      EXPECT_EQ(pool.value_containing(begin + 11).size, 12U);
      EXPECT_EQ(pool.value_containing(begin + 12).size, 0U);
    }
    // CPUs do not share a cache line.
    EXPECT_GE(pool.value(element, 1) - pool.value(element, 0), 64);
  }
}

TEST(ElementPool, RefusesWhatTheMachineCannotHold) {
  EpochDomain epochs(1);
  const ElementPool pool(epochs.clock(), {.key_size = 4, .value_size = 1 << 20}, UINT32_MAX);
  EXPECT_FALSE(pool.reserved());
  const ElementPool overflowing(epochs.clock(), {.key_size = 4, .value_size = 1 << 20}, UINT64_MAX / 16);
  EXPECT_FALSE(overflowing.reserved());
}

}  // namespace
}  // namespace skep::maps
