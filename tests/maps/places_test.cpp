#include "maps/places.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace skep::maps {
namespace {

using HostPlaces = Places<HostAtomics>;

TEST(Places, AreAsManyAsThereAre) {
  HostPlaces places(4, 5);
  for (int n = 0; n < 5; ++n) EXPECT_TRUE(places.take(static_cast<unsigned>(n) % 4));
  EXPECT_FALSE(places.take(0));
  EXPECT_FALSE(places.take(HostPlaces::kShared));
  EXPECT_EQ(places.taken(), 5U);
}

TEST(Places, AreTakenFromOtherCpus) {
  HostPlaces places(1024, 3);
  for (int n = 0; n < 3; ++n) ASSERT_TRUE(places.take(0));
  places.give(1023);
  places.give(7);
  places.give(HostPlaces::kShared);
  EXPECT_EQ(places.taken(), 0U);
  for (int n = 0; n < 3; ++n) EXPECT_TRUE(places.take(500));
  EXPECT_FALSE(places.take(500));
}

TEST(Places, ClearFreesAll) {
  HostPlaces places(2, 3);
  for (int n = 0; n < 3; ++n) ASSERT_TRUE(places.take(0));
  places.give(1);
  places.clear();
  EXPECT_EQ(places.taken(), 0U);
  for (int n = 0; n < 3; ++n) EXPECT_TRUE(places.take(0));
  EXPECT_FALSE(places.take(1));
}

// Two places and two threads, each of which has at most one: there is always another.
TEST(Places, ARefusalMeansThatThereWasNone) {
  HostPlaces places(8, 2);
  std::atomic<int> refused{0};
  {
    std::vector<std::jthread> threads;
    for (unsigned thread = 0; thread < 2; ++thread) {
      threads.emplace_back([&, thread] {
        for (unsigned round = 0; round < 200000; ++round) {
          if (!places.take((round + thread) % 8)) {
            ++refused;
          } else {
            places.give((round * 3 + thread) % 8);
          }
        }
      });
    }
  }
  EXPECT_EQ(refused, 0);
  EXPECT_EQ(places.taken(), 0U);
}

}  // namespace
}  // namespace skep::maps
