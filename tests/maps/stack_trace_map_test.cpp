#include "maps/stack_trace_map.hpp"

#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <thread>
#include <vector>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

class StackTraceMapTest : public MapTest {
 protected:
  StackTraceMap& traces(Map& map) { return *map.stack_traces(); }
  static std::array<uint64_t, 3> chain(uint64_t number) { return {number, number + 1, number + 2}; }
};

TEST_F(StackTraceMapTest, SkippedPlacesAreNoPartOfTheChain) {
  const auto map = create(BPF_MAP_TYPE_STACK_TRACE, 4, 16, 64);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  const std::array<uint64_t, 4> four{9, 1, 2, 3};
  const std::array<uint64_t, 3> three{1, 2, 4};
  const long id = traces(*map).store(four, 1, 0);
  ASSERT_GE(id, 0);
  EXPECT_EQ(traces(*map).store(three, 0, 0), id) << "only two places fit";
  const auto key = static_cast<uint32_t>(id);
  std::array<uint64_t, 2> kept{};
  ASSERT_EQ(map->read(&key, kept.data(), 0), 0);
  EXPECT_EQ(kept, (std::array<uint64_t, 2>{1, 2}));
  EXPECT_EQ(traces(*map).store(four, 4, 0), -EFAULT);
  EXPECT_EQ(traces(*map).store({}, 0, 0), -EFAULT);
  EXPECT_EQ(traces(*map).store(four, 1ULL << 32, 0), -EINVAL);
}

TEST_F(StackTraceMapTest, AsManyChainsAsEntriesAndNoMore) {
  const auto map = create(BPF_MAP_TYPE_STACK_TRACE, 4, 24, 3);
  for (int round = 0; round < 3; ++round) {
    const EpochDomain::CpuGuard guard(epochs_, 1);
    long kept = 0;
    for (uint64_t number = 0; number < 100; ++number) {
      const long id = traces(*map).store(chain(number * 10), 0, 1);
      if (id >= 0)
        ++kept;
      else
        EXPECT_EQ(id, kept == 3 && id == -ENOMEM ? -ENOMEM : -EEXIST);
    }
    EXPECT_EQ(kept, 3);
    ASSERT_EQ(map->clear(), 0);
    uint32_t id = 0;
    EXPECT_EQ(map->next_key(nullptr, &id), -ENOENT);
  }
}

TEST_F(StackTraceMapTest, ChainsAreWholeWhileOthersComeAndGo) {
  const auto map = create(BPF_MAP_TYPE_STACK_TRACE, 4, 24, 8);
  std::atomic<int> wrong{0};
  {
    std::barrier together(4);
    std::vector<std::jthread> threads;
    for (unsigned cpu = 0; cpu < 2; ++cpu)
      threads.emplace_back([&, cpu] {
        together.arrive_and_wait();
        for (uint64_t round = 0; round < 20000; ++round) {
          const EpochDomain::CpuGuard guard(epochs_, cpu);
          const long id = traces(*map).store(chain(round % 50 * 3), BPF_F_REUSE_STACKID, cpu);
          if (id < 0 ? id != -ENOMEM : id > 7) ++wrong;
        }
      });
    for (uint32_t reader = 0; reader < 2; ++reader)
      threads.emplace_back([&, reader] {
        together.arrive_and_wait();
        for (uint32_t round = 0; round < 20000; ++round) {
          const EpochDomain::TaskGuard guard(epochs_);
          const uint32_t id = round % 8;
          std::array<uint64_t, 3> kept{};
          if (map->read(&id, kept.data(), 0) == 0 && kept != chain(kept[0])) ++wrong;
          if (reader == 0 && round % 3 == 0) map->erase(&id);
        }
      });
  }
  EXPECT_EQ(wrong, 0);
  // The count is exact: what is left can be deleted, and then there is room for eight again.
  const EpochDomain::CpuGuard guard(epochs_, 0);
  for (uint32_t id = 0; id < 8; ++id) map->erase(&id);
  long kept = 0;
  for (uint64_t number = 0; number < 2000 && kept < 8; ++number)
    if (traces(*map).store(chain(number * 7), 0, 0) >= 0) ++kept;
  EXPECT_EQ(kept, 8);
}

}  // namespace
}  // namespace skep::maps
