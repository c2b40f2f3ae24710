#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <thread>

#include "map_fixture.hpp"
#include "maps/lru_hash_map.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {
namespace {

// A value that tells of itself whether it is whole and belongs to the key.
struct Proof {
  uint64_t key = 0;
  uint64_t stamp = 0;
  uint64_t check = 0;

  static Proof make(uint64_t key, uint64_t stamp) { return {key, stamp, key * 31 + stamp * 17}; }
  static Proof read(const void* value) {
    Proof proof;
    copy_value_relaxed(&proof, value, sizeof proof);
    return proof;
  }
  bool holds(uint64_t expected_key) const { return key == expected_key && check == key * 31 + stamp * 17; }
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint32_t below(uint32_t bound) {
    state_ = state_ * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return static_cast<uint32_t>(state_ >> 33) % bound;
  }

 private:
  uint64_t state_;
};

// More CPUs than most machines that run this have cores free.
class LruConcurrencyTest : public testing::TestWithParam<uint32_t> {
 protected:
  static constexpr unsigned kCpus = 8;
  static constexpr int kRounds = 20000;

  std::shared_ptr<LruHashMap> create(uint32_t value_size, uint32_t entries) {
    auto made = LruHashMap::create(make_spec(BPF_MAP_TYPE_LRU_HASH, 4, value_size, entries, GetParam()),
                                   environment_);
    return std::static_pointer_cast<LruHashMap>(*made);
  }

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

  EpochDomain epochs_{kCpus};
  MapEnvironment environment_{.cpus = kCpus, .epochs = &epochs_, .hash_seed = 12345};
};
INSTANTIATE_TEST_SUITE_P(Lists, LruConcurrencyTest, testing::Values(0U, uint32_t{BPF_F_NO_COMMON_LRU}),
                         [](const auto& info) { return info.param == 0 ? "Common" : "OfCpus"; });

// Everything at once, in small maps and large ones, by CPUs and by a task.
TEST_P(LruConcurrencyTest, ValuesAreNeverMixed) {
  for (const uint32_t room : {8U, 64U, 3000U}) {
    const auto map = create(sizeof(Proof), room);
    std::atomic<int> wrong{0};
    std::atomic<bool> stop{false};
    const auto anything = [&](Random& random, unsigned cpu, bool task, uint64_t stamp) {
      const uint32_t key = random.below(room * 2);
      const void* value = map->lookup(&key, cpu);
      const Proof before = value == nullptr ? Proof::make(key, 0) : Proof::read(value);
      if (!before.holds(key)) ++wrong;
      const Proof proof = Proof::make(key, stamp);
      const uint32_t what = random.below(10);
      if (what == 0) {
        map->erase(&key);
      } else if (what == 1) {
        Proof gone = Proof::make(key, 0);
        map->read_and_erase(&key, &gone, 0);
        if (!gone.holds(key)) ++wrong;
      } else if (what == 2 && room < 100) {
        Visit visit([&](const void* visited, void* seen) {
          if (!Proof::read(seen).holds(load<uint32_t>(visited))) ++wrong;
          return 0L;
        });
        map->for_each(visit, cpu);
      } else {
        const int result = task ? map->write(&key, &proof, BPF_ANY) : map->update(&key, &proof, BPF_ANY, cpu);
        if (result != 0 && (result != -ENOMEM || room > kCpus + 1)) ++wrong;
      }
      if (map->size() > room) ++wrong;
      if (value != nullptr && Proof::read(value).stamp != before.stamp) ++wrong;
    };
    {
      const std::jthread task([&] {
        Random random(99);
        for (uint64_t round = 1; !stop; ++round) {
          const EpochDomain::TaskGuard guard(epochs_);
          anything(random, 0, true, round << 8 | 0xff);
        }
      });
      on_every_cpu([&](unsigned cpu) {
        Random random(cpu);
        for (uint64_t round = 1; round < kRounds; ++round) {
          const EpochDomain::CpuGuard guard(epochs_, cpu);
          anything(random, cpu, false, round << 8 | cpu);
        }
      });
      stop = true;
    }
    EXPECT_EQ(wrong, 0) << room;
    // The places are all there, and no key is there twice.
    const EpochDomain::CpuGuard guard(epochs_, 0);
    std::vector<uint32_t> seen;
    Visit collect([&](const void* key, void*) {
      seen.push_back(load<uint32_t>(key));
      return 0L;
    });
    const long visited = map->for_each(collect, 0);
    EXPECT_EQ(visited, map->size());
    std::ranges::sort(seen);
    EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end());
  }
}

// What nobody evicts, replaces or deletes stays: there is room for all.
TEST_P(LruConcurrencyTest, NothingGoesWhileThereIsRoom) {
  constexpr uint32_t kPerCpu = 1000;
  const auto map = create(8, kPerCpu * kCpus * (GetParam() == 0 ? 2 : 1));
  std::atomic<int> wrong{0};
  on_every_cpu([&](unsigned cpu) {
    for (uint32_t n = 0; n < kPerCpu; ++n) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      const uint32_t key = cpu * kPerCpu + n;
      const uint64_t value = key;
      if (map->update(&key, &value, BPF_NOEXIST, cpu) != 0) ++wrong;
    }
  });
  const EpochDomain::CpuGuard guard(epochs_, 0);
  for (uint32_t key = 0; key < kPerCpu * kCpus; ++key) {
    if (map->lookup(&key, 0) == nullptr) ++wrong;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(map->size(), kPerCpu * kCpus);
}

TEST_P(LruConcurrencyTest, NoExistHasOneWinner) {
  constexpr uint32_t kKeys = 20000;
  const auto map = create(8, kKeys * 2 * kCpus);
  std::vector<std::atomic<int>> winners(kKeys);
  on_every_cpu([&](unsigned cpu) {
    for (uint32_t key = 0; key < kKeys; ++key) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      const uint64_t value = cpu;
      if (map->update(&key, &value, BPF_NOEXIST, cpu) == 0) ++winners[key];
    }
  });
  EXPECT_TRUE(std::ranges::all_of(winners, [](const std::atomic<int>& won) { return won == 1; }));
}

// Keys that one CPU looks up all the time outlive what the others put in.
TEST_P(LruConcurrencyTest, WhatIsUsedStays) {
  constexpr uint32_t kRoom = 4096;
  constexpr uint32_t kHot = 64;
  const auto map = create(8, kRoom);
  {
    const EpochDomain::CpuGuard guard(epochs_, 0);
    for (uint32_t key = 0; key < kHot; ++key) {
      const uint64_t value = key;
      ASSERT_EQ(map->update(&key, &value, BPF_ANY, key % kCpus), 0);
    }
  }
  std::atomic<int> lost{0};
  on_every_cpu([&](unsigned cpu) {
    for (uint32_t n = 0; n < 4000; ++n) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      for (uint32_t key = 0; key < kHot; ++key) {
        if (map->lookup(&key, cpu) == nullptr) ++lost;
      }
      const uint32_t key = 1000000 * (cpu + 1) + n;
      const uint64_t value = key;
      map->update(&key, &value, BPF_ANY, cpu);
    }
  });
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace skep::maps
