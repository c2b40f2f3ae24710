#include <algorithm>
#include <string>
#include <vector>

#include "schedule_world.hpp"

// Explores interleavings of threads on a hash table, atomic operation by atomic operation, and holds what
// came of it against a map that does one thing after the other. A failure names its seed;
// SKEP_SCHEDULE_SEED=n runs that schedule alone, SKEP_SCHEDULES=n so many.

namespace skep::maps {
namespace {

using HashWorld = World<HashSubject>;

TEST(HashSchedule, HistoriesAreLinearizable) { EXPECT_EQ(run_seeds(20000, run_by_chance<HashSubject>), ""); }

class HashPairs : public testing::TestWithParam<Pair> {};
INSTANTIATE_TEST_SUITE_P(
    Operations, HashPairs,
    testing::Values(
        Pair{"TwoInsertOneKey", {}, {put(0, 1, BPF_NOEXIST)}, {put(0, 2, BPF_NOEXIST)}},
        Pair{"TwoInsertWithOnePlaceLeft", {{2, 9}}, {put(0, 1)}, {put(1, 2)}},
        Pair{"TwoPutOneKeyWithOnePlaceLeft", {{2, 9}}, {put(0, 1)}, {put(0, 2)}},
        Pair{"TwoReplaceOneKey", {{0, 8}, {1, 9}}, {put(0, 1)}, {put(0, 2), lookup(0)}},
        Pair{"TwoReplaceNeighbours", {{0, 8}, {1, 9}}, {put(0, 1)}, {put(1, 2)}},
        Pair{"ReplaceAndTake", {{0, 8}, {1, 9}}, {put(0, 1)}, {take(0), lookup(0)}},
        Pair{"TwoTakeOneKey", {{0, 8}, {1, 9}}, {take(0)}, {take(0), lookup(1)}},
        Pair{"TwoTakeNeighbours", {{0, 8}, {1, 9}}, {take(0)}, {take(1), lookup(0)}},
        Pair{"TakeAndInsertAgain", {{0, 8}, {1, 9}}, {take(0), put(0, 1)}, {lookup(0), lookup(1)}},
        Pair{"TakeWhileTheNeighbourIsReplaced", {{0, 8}, {1, 9}}, {take(0)}, {put(1, 2), lookup(1)}},
        Pair{"LookupWhileReplacedTwice", {{0, 8}, {1, 9}}, {put(0, 1), put(0, 2)}, {lookup(0), lookup(1)}},
        Pair{"TheLastPlaceGoesRound", {{0, 8}, {1, 9}}, {take(0), put(2, 1)}, {take(1), put(2, 2)}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(HashPairs, AreLinearizable) { try_all_changes<HashSubject>(GetParam()); }

class HashStopped : public testing::TestWithParam<Operation> {};
INSTANTIATE_TEST_SUITE_P(Operations, HashStopped,
                         testing::Values(lookup(0), take(0), put(0, 1), put(2, 1), put(2, 1, BPF_NOEXIST)),
                         [](const auto& info) { return std::to_string(info.index); });

TEST_P(HashStopped, StopsNobody) {
  stop_everywhere<HashSubject>(GetParam(), GetParam().key == 0 ? Contents{{0, 8}, {1, 9}} : Contents{{1, 9}},
                               5000);
}

// Behind a key that is replaced whenever the reader takes a step.
TEST(HashSchedule, LookupsTakeABoundedNumberOfSteps) {
  HashWorld world(1, {{0, 8}, {1, 9}});
  bool begun = false;
  bool found = false;
  uint64_t replaced = 0;
  world.fibers().add([&] {
    world.inside(0, [&] {
      begun = true;
      const uint32_t key = 0;  // put in first, so behind the other
      found = world.table().find(&key) != nullptr;
    });
  });
  world.fibers().add([&] {
    for (; !world.fibers().done(0) && replaced < 1000; ++replaced)
      world.inside(1, [&] { world.put_by(1, 1, replaced); });
  });
  uint64_t turns = 0;
  uint64_t seen = 0;
  world.fibers().run([&](const std::vector<size_t>& runnable, size_t) -> size_t {
    if (!begun) return 0;
    if (runnable.front() != 0 || (runnable.size() == 2 && replaced == seen)) return runnable.back();
    seen = replaced;
    ++turns;
    return 0;
  });
  EXPECT_TRUE(found);
  // The head, the way past the element in front, the element, and leaving.
  EXPECT_LE(turns, 6U);
}

TEST(HashSchedule, AWalkMeetsOnceWhatIsThereAllTheTime) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Random random(seed);
    HashWorld world(1 + random.below(2), {{0, 8}, {1, 9}});
    std::vector<std::pair<uint32_t, uint64_t>> met;
    world.fibers().add([&] { world.inside(0, [&] { met = world.walk(); }); });
    world.fibers().add([&] {
      for (uint64_t n = 100; n < 104; ++n) world.inside(1, [&] { world.put_by(1, 0, n); });
    });
    world.fibers().add([&] {
      for (uint64_t n = 200; n < 202; ++n) {
        world.inside(2, [&] { world.take_by(2, 1); });
        world.inside(2, [&] { world.put_by(2, 1, n); });
      }
    });
    world.fibers().run(by_chance(random));
    ASSERT_EQ(std::ranges::count(met, 0U, &std::pair<uint32_t, uint64_t>::first), 1) << "seed " << seed;
    for (const auto& [key, value] : met) {
      const bool written =
          key == 0 ? value == 8 || (value >= 100 && value < 104) : value == 9 || value == 200 || value == 201;
      ASSERT_TRUE(written) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace skep::maps
