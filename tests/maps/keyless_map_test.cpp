#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <thread>

#include "map_fixture.hpp"
#include "maps/keyless_map.hpp"
#include "maps/queue_map.hpp"
#include "maps/stack_map.hpp"

namespace skep::maps {
namespace {

// Values that tell whether they are whole and who pushed them.
struct Stamped {
  uint64_t who = 0;
  uint64_t number = 0;
  uint64_t check = 0;

  static Stamped make(uint64_t who, uint64_t number) { return {who, number, who * 31 + number * 17}; }
  bool whole() const { return check == who * 31 + number * 17; }
};

class KeylessMaps : public MapTest, public testing::WithParamInterface<uint32_t> {
 protected:
  std::shared_ptr<Map> make(uint32_t entries) { return create(GetParam(), 0, sizeof(Stamped), entries); }
  bool is_queue() const { return GetParam() == BPF_MAP_TYPE_QUEUE; }

  // Runs function(cpu) for all CPUs at the same time.
  template <class Function>
  static void on_every_cpu(const Function& function) {
    std::barrier together(kCpus);
    std::vector<std::jthread> threads;
    threads.reserve(kCpus);
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
      threads.emplace_back([&, cpu] {
        together.arrive_and_wait();
        function(cpu);
      });
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Each, KeylessMaps, testing::Values(BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK),
                         [](const auto& info) {
                           return std::string(info.param == BPF_MAP_TYPE_QUEUE ? "Queue" : "Stack");
                         });

TEST_P(KeylessMaps, NothingIsLostOrDoubled) {
  constexpr uint64_t kEach = 20000;
  const auto map = make(5);
  std::array<std::vector<Stamped>, kCpus> popped;
  on_every_cpu([&](unsigned cpu) {
    for (uint64_t n = 0; n < kEach;) {
      const Stamped value = Stamped::make(cpu, n);
      if (map->push(&value, BPF_ANY, cpu) == 0) ++n;
      Stamped got;
      if (map->pop(&got, cpu) == 0) popped[cpu].push_back(got);
    }
  });
  for (Stamped got; map->pop(&got, 0) == 0;) popped[0].push_back(got);
  std::array<std::vector<bool>, kCpus> seen;
  for (auto& numbers : seen) numbers.resize(kEach);
  uint64_t count = 0;
  for (const auto& values : popped) {
    std::array<uint64_t, kCpus> last{};
    for (const Stamped& value : values) {
      ASSERT_TRUE(value.whole());
      ASSERT_FALSE(seen[value.who][value.number]) << "popped twice";
      seen[value.who][value.number] = true;
      ++count;
      if (!is_queue()) continue;
      // One popper sees what one pusher pushed in order.
      ASSERT_GE(value.number + 1, last[value.who]);
      last[value.who] = value.number + 1;
    }
  }
  EXPECT_EQ(count, kCpus * kEach);
}

TEST_P(KeylessMaps, NeverMoreThanMaxEntriesAndNeverRefusedWithRoom) {
  constexpr uint32_t kEntries = 3;
  const auto map = make(kEntries);
  // As many values as entries are in the map or in somebody's hand: a push always finds room.
  for (uint64_t n = 0; n < kEntries; ++n) {
    const Stamped value = Stamped::make(0, n);
    ASSERT_EQ(map->push(&value, BPF_ANY, 0), 0);
  }
  std::atomic<uint64_t> refused{0};
  on_every_cpu([&](unsigned cpu) {
    for (int round = 0; round < 20000; ++round) {
      Stamped value;
      if (map->pop(&value, cpu) == 0 && map->push(&value, BPF_ANY, cpu) != 0) ++refused;
    }
  });
  EXPECT_EQ(refused, 0U);
  Stamped value = Stamped::make(0, 0);
  EXPECT_EQ(map->push(&value, BPF_ANY, 0), -E2BIG);
  uint32_t left = 0;
  while (map->pop(&value, 0) == 0) ++left;
  EXPECT_EQ(left, kEntries);
}

TEST_P(KeylessMaps, OverwritingPushesAlwaysSucceed) {
  constexpr uint32_t kEntries = 2;
  const auto map = make(kEntries);
  std::atomic<uint64_t> torn{0};
  std::atomic<uint64_t> failed{0};
  on_every_cpu([&](unsigned cpu) {
    for (uint64_t n = 0; n < 20000; ++n) {
      const Stamped value = Stamped::make(cpu, n);
      if (map->push(&value, BPF_EXIST, cpu) != 0) ++failed;
      Stamped got;
      if (map->peek(&got) == 0 && !got.whole()) ++torn;
      // Two push only, so that the map is full most of the time.
      if (cpu < 2 && map->pop(&got, cpu) == 0 && !got.whole()) ++torn;
    }
  });
  EXPECT_EQ(torn, 0U);
  EXPECT_EQ(failed, 0U);
  Stamped got;
  uint32_t left = 0;
  while (map->pop(&got, 0) == 0) ++left;
  EXPECT_LE(left, kEntries);
}

// Values of one pusher leave the queue in order however many are overwritten, and none twice.
TEST_F(MapTest, QueueKeepsItsOrderWhileItIsOverwritten) {
  const auto map = create(BPF_MAP_TYPE_QUEUE, 0, sizeof(Stamped), 3);
  std::atomic<bool> done{false};
  std::jthread pusher([&] {
    for (uint64_t n = 1; n <= 100000; ++n) {
      const Stamped value = Stamped::make(1, n);
      map->push(&value, BPF_EXIST, 1);
    }
    done = true;
  });
  uint64_t last = 0;
  for (bool more = true; more;) {
    more = !done;
    for (Stamped got; map->pop(&got, 0) == 0;) {
      ASSERT_TRUE(got.whole());
      ASSERT_GT(got.number, last);
      last = got.number;
    }
  }
  EXPECT_EQ(last, 100000U);
}

TEST_P(KeylessMaps, ClearedMapsAreEmptyAndHaveRoom) {
  const auto map = make(4);
  const auto clear = [&] {
    return is_queue() ? static_cast<QueueMap&>(*map).clear() : static_cast<StackMap&>(*map).clear();
  };
  for (uint64_t round = 0; round < 10; ++round) {
    for (uint64_t n = 0; n < 4; ++n) {
      const Stamped value = Stamped::make(round, n);
      ASSERT_EQ(map->push(&value, BPF_ANY, 0), 0) << round << ' ' << n;
    }
    if (round % 2 == 1) {
      const Stamped value = Stamped::make(round, 4);
      ASSERT_EQ(map->push(&value, BPF_EXIST, 0), 0);
    }
    EXPECT_EQ(clear(), 0);
    Stamped got;
    EXPECT_EQ(map->pop(&got, 0), -ENOENT);
  }
}

// User space takes part in the same order, with nodes of its own.
TEST_P(KeylessMaps, UserSpaceAndProgramsShareTheMap) {
  const auto map = make(64);
  std::vector<std::jthread> threads;
  std::atomic<uint64_t> pushed{0};
  std::atomic<uint64_t> popped{0};
  for (unsigned who = 0; who < kCpus; ++who)
    threads.emplace_back([&, who] {
      for (uint64_t n = 0; n < 5000; ++n) {
        const Stamped value = Stamped::make(who, n);
        if ((n % 2 == 0 ? map->push(&value, BPF_ANY, who) : map->write(nullptr, &value, BPF_ANY)) == 0)
          ++pushed;
        Stamped got;
        if ((n % 3 == 0 ? map->pop(&got, who) : map->read_and_erase(nullptr, &got, 0)) == 0) {
          ++popped;
          EXPECT_TRUE(got.whole());
        }
      }
    });
  threads.clear();
  for (Stamped got; map->pop(&got, 0) == 0;) ++popped;
  EXPECT_EQ(pushed, popped);
}

}  // namespace
}  // namespace skep::maps
