#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <thread>

#include "map_fixture.hpp"
#include "maps/hash_map.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {
namespace {

// A value that tells of itself whether it is whole: written by one thread at one time for one key.
struct Proof {
  uint64_t key = 0;
  uint64_t stamp = 0;
  uint64_t check = 0;

  static Proof make(uint64_t key, uint64_t stamp) { return {key, stamp, key * 31 + stamp * 17}; }
  bool holds(uint64_t expected_key) const { return key == expected_key && check == key * 31 + stamp * 17; }
};

Proof read_proof(const void* value) {
  Proof proof;
  copy_value_relaxed(&proof, value, sizeof proof);
  return proof;
}

// A generator per thread; the sequences are fixed, the interleaving is not.
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

class ConcurrencyTest : public MapTest {
 protected:
  static constexpr int kRounds = 100000;

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

class HashConcurrencyTest : public ConcurrencyTest, public testing::WithParamInterface<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Allocation, HashConcurrencyTest, testing::Values(0U, uint32_t{BPF_F_NO_PREALLOC}),
                         [](const auto& info) { return info.param == 0 ? "Preallocated" : "AsNeeded"; });

// Everything at once on few keys; what a lookup returns stays whole for the rest of the run.
TEST_P(HashConcurrencyTest, ValuesAreNeverMixed) {
  constexpr uint32_t kKeys = 24;
  constexpr uint32_t kRoom = 16;
  const auto map = create(BPF_MAP_TYPE_HASH, 4, sizeof(Proof), kRoom, GetParam());
  std::atomic<int> wrong{0};
  on_every_cpu([&](unsigned cpu) {
    Random random(cpu);
    for (int round = 0; round < kRounds; ++round) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      const uint32_t key = random.below(kKeys);
      const void* value = map->lookup(&key, cpu);
      const Proof before = value == nullptr ? Proof::make(key, 0) : read_proof(value);
      if (!before.holds(key)) ++wrong;
      const Proof proof = Proof::make(key, static_cast<uint64_t>(round) << 8 | cpu);
      switch (random.below(8)) {
        case 0:
        case 1:
          map->erase(&key);
          break;
        case 2: {
          Proof gone = Proof::make(key, 0);
          map->read_and_erase(&key, &gone, 0);
          if (!gone.holds(key)) ++wrong;
          break;
        }
        case 3: {
          Visit visit([&](const void* visited, void* seen) {
            if (!read_proof(seen).holds(load<uint32_t>(visited))) ++wrong;
            return 0L;
          });
          map->for_each(visit, cpu);
          break;
        }
        case 4: {
          uint32_t next = 0;
          int left = 100;
          for (const uint32_t* from = nullptr; map->next_key(from, &next) == 0 && --left > 0; from = &next) {
            if (next >= kKeys) ++wrong;
          }
          break;
        }
        default: {
          const int result = map->update(&key, &proof, BPF_ANY, cpu);
          if (result != 0 && result != -E2BIG) ++wrong;
        }
      }
      if (value != nullptr && read_proof(value).stamp != before.stamp) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(HashConcurrencyTest, TheCountIsExact) {
  constexpr uint32_t kKeys = 64;
  constexpr uint32_t kRoom = 40;
  const auto made = HashMap::create(make_spec(BPF_MAP_TYPE_HASH, 4, 8, kRoom, GetParam()), environment_);
  auto& map = static_cast<HashMap&>(**made);
  std::atomic<int> balance{0};
  std::atomic<int> wrong{0};
  on_every_cpu([&](unsigned cpu) {
    Random random(cpu);
    for (int round = 0; round < kRounds; ++round) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      const uint32_t key = random.below(kKeys);
      const uint64_t value = key;
      if (random.below(2) == 0) {
        if (map.update(&key, &value, BPF_NOEXIST, cpu) == 0) ++balance;
      } else if (map.erase(&key) == 0) {
        --balance;
      }
      if (map.size() > kRoom) ++wrong;
    }
  });
  const EpochDomain::TaskGuard guard(epochs_);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(map.size(), static_cast<uint32_t>(balance));
  Visit nothing([](const void*, void*) { return 0L; });
  EXPECT_EQ(map.for_each(nothing, 0), balance);
  // What is left of the room can be used to the last place, and no further.
  for (uint32_t key = 1000; key < 1000 + kRoom - static_cast<uint32_t>(balance); ++key) {
    const uint64_t value = key;
    EXPECT_EQ(map.update(&key, &value, BPF_NOEXIST, 0), 0);
  }
  const uint32_t extra = 5000;
  const uint64_t value = 0;
  EXPECT_EQ(map.update(&extra, &value, BPF_ANY, 0), -E2BIG);
}

// Each thread inserts and deletes keys of its own within its share of the room: it may never be refused.
TEST_P(HashConcurrencyTest, ThereIsAlwaysTheRoomThatWasPromised) {
  constexpr uint32_t kShare = 5;
  const auto map = create(BPF_MAP_TYPE_HASH, 4, 8, kShare * kCpus, GetParam());
  std::atomic<int> wrong{0};
  on_every_cpu([&](unsigned cpu) {
    for (int round = 0; round < kRounds / 5; ++round) {
      for (uint32_t i = 0; i < kShare; ++i) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        const uint32_t key = cpu * 1000 + i;
        const uint64_t value = key;
        if (map->update(&key, &value, BPF_NOEXIST, cpu) != 0) ++wrong;
      }
      for (uint32_t i = 0; i < kShare; ++i) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        const uint32_t key = cpu * 1000 + i;
        if (map->erase(&key) != 0) ++wrong;
      }
    }
  });
  EXPECT_EQ(wrong, 0);
}

// All insert the same keys, as many as there is room for: those that lose to another make none seem taken.
TEST_P(HashConcurrencyTest, KeysThatFitAreNotRefused) {
  constexpr uint32_t kKeys = 8;
  std::atomic<int> wrong{0};
  for (int round = 0; round < 200; ++round) {
    const auto map = create(BPF_MAP_TYPE_HASH, 4, 8, kKeys, GetParam());
    on_every_cpu([&](unsigned cpu) {
      for (uint32_t n = 0; n < kKeys; ++n) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        const uint32_t key = (n + cpu) % kKeys;
        const uint64_t value = cpu;
        if (map->update(&key, &value, BPF_ANY, cpu) != 0) ++wrong;
      }
    });
  }
  EXPECT_EQ(wrong, 0);
}

TEST_P(HashConcurrencyTest, NoExistHasOneWinner) {
  const auto map = create(BPF_MAP_TYPE_HASH, 4, 8, kRounds, GetParam());
  std::vector<std::atomic<int>> winners(kRounds);
  on_every_cpu([&](unsigned cpu) {
    for (uint32_t key = 0; key < kRounds; ++key) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      const uint64_t value = cpu;
      if (map->update(&key, &value, BPF_NOEXIST, cpu) == 0) ++winners[key];
    }
  });
  EXPECT_TRUE(std::ranges::all_of(winners, [](const std::atomic<int>& won) { return won == 1; }));
}

// Few buckets, so that replacements happen in the middle of chains that others walk.
TEST_P(HashConcurrencyTest, AReplacedKeyIsNeverAbsent) {
  constexpr uint32_t kRoom = 8;
  const auto map = create(BPF_MAP_TYPE_HASH, 4, sizeof(Proof), kRoom, GetParam());
  {
    const EpochDomain::TaskGuard guard(epochs_);
    for (uint32_t key = 0; key < kRoom; ++key) {
      const Proof proof = Proof::make(key, 0);
      ASSERT_EQ(map->update(&key, &proof, BPF_ANY, 0), 0);
    }
  }
  std::atomic<int> wrong{0};
  on_every_cpu([&](unsigned cpu) {
    Random random(cpu);
    for (int round = 0; round < kRounds; ++round) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      const uint32_t key = random.below(kRoom);
      if (cpu % 2 == 0) {
        const Proof proof = Proof::make(key, static_cast<uint64_t>(round));
        if (map->update(&key, &proof, BPF_EXIST, cpu) != 0) ++wrong;
      } else {
        const void* value = map->lookup(&key, cpu);
        if (value == nullptr || !read_proof(value).holds(key)) ++wrong;
      }
    }
  });
  EXPECT_EQ(wrong, 0);
}

// Counters of CPUs that insert, count and are read by a task meanwhile; nothing is lost.
TEST_F(ConcurrencyTest, PerCpuCountersLoseNothing) {
  constexpr uint32_t kKeys = 8;
  const auto map = create(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, kKeys);
  std::array<std::array<std::atomic<uint64_t>, kKeys>, kCpus> expected{};
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  {
    const std::jthread reader([&] {
      std::array<uint64_t, kCpus> last{};
      while (!stop) {
        const EpochDomain::TaskGuard guard(epochs_);
        const uint32_t key = 3;
        std::array<uint64_t, kCpus> now{};
        if (map->read(&key, now.data(), 0) != 0) continue;
        for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
          if (now[cpu] < last[cpu]) ++wrong;
        }
        last = now;
      }
    });
    on_every_cpu([&](unsigned cpu) {
      Random random(cpu);
      for (int round = 0; round < kRounds; ++round) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        const uint32_t key = random.below(kKeys);
        ++expected[cpu][key];
        void* value = map->lookup(&key, cpu);
        if (value == nullptr) {
          const uint64_t one = 1;
          const int result = map->update(&key, &one, BPF_NOEXIST, cpu);
          if (result == 0) continue;
          value = map->lookup(&key, cpu);
        }
        __atomic_store_n(static_cast<uint64_t*>(value), load_relaxed(value) + 1, __ATOMIC_RELAXED);
      }
    });
    stop = true;
  }
  EXPECT_EQ(wrong, 0);
  const EpochDomain::TaskGuard guard(epochs_);
  for (uint32_t key = 0; key < kKeys; ++key) {
    std::array<uint64_t, kCpus> counts{};
    ASSERT_EQ(map->read(&key, counts.data(), 0), 0);
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) EXPECT_EQ(counts[cpu], expected[cpu][key]);
  }
}

// User space empties a map in batches while CPUs fill it: every element is read exactly once.
TEST_F(ConcurrencyTest, BatchDeletionTakesEachElementOnce) {
  constexpr uint32_t kPerCpu = 4000;
  const auto map = create(BPF_MAP_TYPE_HASH, 4, 8, 256);
  std::vector<std::atomic<int>> taken(size_t{kPerCpu} * kCpus);
  std::atomic<unsigned> writers{kCpus};
  {
    const std::jthread drain([&] {
      std::vector<uint32_t> keys(256);
      std::vector<uint64_t> values(256);
      bool last = false;
      for (;;) {
        last = writers == 0;
        uint32_t count = 256;
        uint32_t cursor = 0;
        {
          const EpochDomain::TaskGuard guard(epochs_);
          map->read_batch(nullptr, &cursor, keys.data(), values.data(), count, 0, true);
        }
        for (uint32_t i = 0; i < count; ++i) ++taken[values[i]];
        if (last && count == 0) break;
      }
    });
    on_every_cpu([&](unsigned cpu) {
      for (uint32_t i = 0; i < kPerCpu; ++i) {
        const uint32_t key = cpu * kPerCpu + i;
        const uint64_t value = key;
        for (;;) {
          {
            const EpochDomain::CpuGuard guard(epochs_, cpu);
            if (map->update(&key, &value, BPF_NOEXIST, cpu) == 0) break;
          }
          std::this_thread::yield();
        }
      }
      --writers;
    });
  }
  EXPECT_TRUE(std::ranges::all_of(taken, [](const std::atomic<int>& times) { return times == 1; }));
}

TEST_F(ConcurrencyTest, ArrayElementsAreReadWhileTheyAreWritten) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 2);
  std::atomic<int> wrong{0};
  on_every_cpu([&](unsigned cpu) {
    const uint32_t key = 1;
    for (int round = 0; round < kRounds; ++round) {
      const EpochDomain::CpuGuard guard(epochs_, cpu);
      // Both halves of the word are the same, or a word was torn.
      const uint64_t value = static_cast<uint64_t>(round) << 32 | static_cast<uint32_t>(round);
      map->update(&key, &value, BPF_ANY, cpu);
      const uint64_t seen = load_relaxed(map->lookup(&key, cpu));
      if (seen >> 32 != (seen & UINT32_MAX)) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_F(ConcurrencyTest, ObjectsAreReplacedUnderRunningPrograms) {
  class Checked final : public Object {
   public:
    explicit Checked(uint32_t id) : id_(id) {}
    ~Checked() override { id_ = 0; }
    uint32_t id() const override { return id_; }

   private:
    uint32_t id_;
  };
  const auto map = create(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
  std::atomic<int> wrong{0};
  {
    const std::jthread user([&] {
      for (uint32_t round = 1; round < kRounds; ++round) {
        const EpochDomain::TaskGuard guard(epochs_);
        map->set_object(0, round % 16 == 0 ? nullptr : std::make_shared<Checked>(round));
      }
    });
    on_every_cpu([&](unsigned cpu) {
      for (int round = 0; round < kRounds; ++round) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        const Object* object = map->peek_object(0);
        if (object != nullptr && object->id() == 0) ++wrong;
      }
    });
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace skep::maps
