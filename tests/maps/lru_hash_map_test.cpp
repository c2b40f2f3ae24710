#include "maps/lru_hash_map.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <numeric>
#include <set>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

// The parameter: flags, with or without a list for each CPU.
class LruHashTest : public MapTest, public testing::WithParamInterface<uint32_t> {
 protected:
  bool list_per_cpu() const { return GetParam() != 0; }
  // With room for so many elements that are put in on one CPU.
  std::shared_ptr<Map> create_lru(uint32_t entries, uint32_t type = BPF_MAP_TYPE_LRU_HASH,
                                  uint32_t value_size = 8) {
    return create(type, 4, value_size, list_per_cpu() ? entries * kCpus : entries, GetParam());
  }
  static int put(Map& map, uint32_t key, uint64_t value, uint64_t flags = BPF_ANY, unsigned cpu = 0) {
    return map.update(&key, &value, flags, cpu);
  }
  // As user space.
  static uint64_t get(Map& map, uint32_t key) {
    uint64_t value = 0;
    return map.read(&key, &value, 0) == 0 ? value : UINT64_MAX;
  }
  static bool reference(Map& map, uint32_t key) { return map.lookup(&key, 0) != nullptr; }
  static std::set<uint32_t> keys(Map& map) {
    std::set<uint32_t> all;
    Visit collect([&](const void* key, void*) {
      EXPECT_TRUE(all.insert(load<uint32_t>(key)).second);
      return 0L;
    });
    const long visited = map.for_each(collect, 0);
    EXPECT_EQ(visited, static_cast<long>(all.size()));
    return all;
  }

  EpochDomain::CpuGuard guard_{epochs_, 0};
};

INSTANTIATE_TEST_SUITE_P(Lists, LruHashTest, testing::Values(0U, uint32_t{BPF_F_NO_COMMON_LRU}),
                         [](const auto& info) { return info.param == 0 ? "Common" : "OfCpus"; });

TEST_P(LruHashTest, InsertsFindsAndDeletes) {
  const auto map = create_lru(10);
  EXPECT_EQ(put(*map, 1, 11), 0);
  EXPECT_EQ(put(*map, 2, 22), 0);
  EXPECT_EQ(get(*map, 1), 11U);
  const uint32_t one = 1;
  EXPECT_EQ(load<uint64_t>(map->lookup(&one, 3)), 11U);
  EXPECT_EQ(map->lookup_function()(*map, &one, 0), map->lookup(&one, 0));
  EXPECT_EQ(map->lookup_percpu(&one, 0), nullptr);
  EXPECT_EQ(map->erase(&one), 0);
  EXPECT_EQ(map->erase(&one), -ENOENT);
  EXPECT_EQ(map->erase_on(&one, 2), -ENOENT);
  EXPECT_EQ(map->lookup(&one, 0), nullptr);
  const uint32_t two = 2;
  uint64_t value = 0;
  EXPECT_EQ(map->read_and_erase(&two, &value, 0), 0);
  EXPECT_EQ(value, 22U);
  EXPECT_EQ(keys(*map), (std::set<uint32_t>{}));
}

TEST_P(LruHashTest, UpdateFlags) {
  const auto map = create_lru(10);
  EXPECT_EQ(put(*map, 1, 1, BPF_EXIST), -ENOENT);
  EXPECT_EQ(put(*map, 1, 1, BPF_NOEXIST), 0);
  EXPECT_EQ(put(*map, 1, 2, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(get(*map, 1), 1U);
  EXPECT_EQ(put(*map, 1, 3, BPF_EXIST), 0);
  EXPECT_EQ(get(*map, 1), 3U);
  for (const uint64_t flags : {uint64_t{3}, uint64_t{BPF_F_LOCK}, uint64_t{BPF_F_LOCK | BPF_EXIST}})
    EXPECT_EQ(put(*map, 1, 4, flags), -EINVAL);
  const uint32_t key = 1;
  uint64_t value = 0;
  EXPECT_EQ(map->read(&key, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->read_and_erase(&key, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(get(*map, 1), 3U);
}

TEST_P(LruHashTest, AFullMapLetsTheOldestGo) {
  const auto map = create_lru(2);
  put(*map, 1, 1);
  put(*map, 2, 2);
  EXPECT_EQ(put(*map, 3, 3), 0);
  EXPECT_EQ(get(*map, 1), UINT64_MAX);
  EXPECT_EQ(get(*map, 3), 3U);
}

TEST_P(LruHashTest, WhatProgramsLookUpStays) {
  const auto map = create_lru(2);
  put(*map, 1, 1);
  put(*map, 2, 2);
  EXPECT_TRUE(reference(*map, 1));
  EXPECT_EQ(get(*map, 2), 2U);  // marks nothing
  put(*map, 3, 3);
  EXPECT_EQ(keys(*map), (std::set<uint32_t>{1, 3}));
}

TEST_P(LruHashTest, LookupFunctionsMarkToo) {
  const auto map = create_lru(2);
  put(*map, 1, 1);
  put(*map, 2, 2);
  const uint32_t key = 1;
  map->lookup_function()(*map, &key, 0);
  put(*map, 3, 3);
  EXPECT_EQ(keys(*map), (std::set<uint32_t>{1, 3}));
}

// The element that is to be replaced may be the one that goes for it; then there is none.
TEST_P(LruHashTest, ReplacingTheOnlyElement) {
  const auto map = create_lru(1);
  put(*map, 1, 1);
  EXPECT_EQ(put(*map, 1, 2), 0);
  EXPECT_EQ(get(*map, 1), 2U);
  EXPECT_EQ(put(*map, 1, 3, BPF_EXIST), -ENOENT);
  EXPECT_EQ(get(*map, 1), UINT64_MAX);
}

TEST_P(LruHashTest, NeverMoreThanThereIsRoomFor) {
  const auto made = LruHashMap::create(
      make_spec(BPF_MAP_TYPE_LRU_HASH, 4, 8, list_per_cpu() ? 300 * kCpus : 300, GetParam()), environment_);
  auto& map = static_cast<LruHashMap&>(**made);
  for (uint32_t key = 0; key < 2000; ++key) {
    ASSERT_EQ(put(map, key, key), 0);
    ASSERT_LE(map.size(), 300U);
    if (key % 3 == 0) reference(map, key / 2);
    if (key % 50 == 0) put(map, key / 2, 1, BPF_EXIST);
  }
  EXPECT_EQ(map.size(), keys(map).size());
  EXPECT_GT(map.size(), 300U - 128U);
}

TEST_P(LruHashTest, ElementsThatWentStayReadableForTheRun) {
  const auto map = create_lru(1);
  put(*map, 1, 11);
  const uint32_t key = 1;
  const void* value = map->lookup(&key, 0);
  for (uint32_t other = 100; other < 1000; ++other) put(*map, other, other);
  EXPECT_EQ(get(*map, 1), UINT64_MAX);
  EXPECT_EQ(load<uint64_t>(value), 11U);
}

TEST_P(LruHashTest, EntriesAreRoundedUpToWholeLists) {
  const auto map = create(BPF_MAP_TYPE_LRU_HASH, 4, 8, 5, GetParam());
  EXPECT_EQ(map->spec().max_entries, list_per_cpu() ? 8U : 5U);
}

TEST_P(LruHashTest, CpusShareAListOrHaveTheirOwn) {
  const auto map = create_lru(2);  // of each CPU, or two for all
  for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
    put(*map, 10 * cpu + 1, 1, BPF_ANY, cpu);
    put(*map, 10 * cpu + 2, 1, BPF_ANY, cpu);
  }
  if (list_per_cpu())
    EXPECT_EQ(keys(*map), (std::set<uint32_t>{1, 2, 11, 12, 21, 22, 31, 32}));
  else
    EXPECT_EQ(keys(*map).size(), 2U);
  // One CPU's insertions are at the cost of its own elements.
  for (uint32_t key = 100; key < 120; ++key) put(*map, key, 1, BPF_ANY, 2);
  if (list_per_cpu())
    EXPECT_EQ(keys(*map), (std::set<uint32_t>{1, 2, 11, 12, 118, 119, 31, 32}));
  else
    EXPECT_TRUE(keys(*map).size() == 2 && keys(*map).contains(119));
}

TEST_P(LruHashTest, DeletedPlacesAreUsedBeforeElementsGo) {
  const auto map = create_lru(400);
  for (uint32_t key = 0; key < 400; ++key) put(*map, key, key);
  for (uint32_t key = 100; key < 400; ++key) EXPECT_EQ(map->erase(&key), 0);
  for (uint32_t key = 1000; key < 1300; ++key) put(*map, key, key);
  std::set<uint32_t> expected;
  for (uint32_t key = 0; key < 100; ++key) expected.insert(key);
  for (uint32_t key = 1000; key < 1300; ++key) expected.insert(key);
  EXPECT_EQ(keys(*map), expected);
}

TEST_P(LruHashTest, BatchReadAndDeleteEmptiesTheMap) {
  const auto map = create_lru(100);
  for (uint32_t key = 0; key < 50; ++key) put(*map, key, key);
  std::vector<uint32_t> read(500);
  std::vector<uint64_t> values(500);
  uint32_t cursor = 0;
  uint32_t count = 500;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, read.data(), values.data(), count, 0, true), -ENOENT);
  EXPECT_EQ(count, 50U);
  EXPECT_EQ(keys(*map), (std::set<uint32_t>{}));
  for (uint32_t key = 0; key < 50; ++key) EXPECT_EQ(put(*map, key, key), 0);
  EXPECT_EQ(keys(*map).size(), 50U);
}

TEST_P(LruHashTest, ClearMakesTheMapAsNew) {
  for (const uint32_t entries : {1U, 7U, 300U}) {
    const auto map = create_lru(entries);
    const auto use = [&] {
      std::vector<std::set<uint32_t>> seen;
      for (uint32_t n = 0; n < 1000; ++n) {
        put(*map, n * 7 % 400, n, BPF_ANY, n % 5 == 0 ? 1 : 0);
        if (n % 3 == 0) reference(*map, n % 400);
        const uint32_t gone = n % 97;
        if (n % 11 == 0) map->erase(&gone);
        if (n % 100 == 0) seen.push_back(keys(*map));
      }
      return seen;
    };
    const auto first = use();
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(map->clear(), 0);
      EXPECT_EQ(keys(*map), (std::set<uint32_t>{}));
      EXPECT_EQ(use(), first);
    }
  }
}

TEST_P(LruHashTest, ValuesOfCpusAreUpdatedInPlace) {
  const auto map = create_lru(2, BPF_MAP_TYPE_LRU_PERCPU_HASH);
  EXPECT_EQ(put(*map, 1, 5, BPF_NOEXIST, 0), 0);
  const uint32_t key = 1;
  const void* value = map->lookup(&key, 0);
  EXPECT_EQ(put(*map, 1, 6, BPF_EXIST, 0), 0);
  EXPECT_EQ(map->lookup(&key, 0), value);
  EXPECT_EQ(load<uint64_t>(value), 6U);
  EXPECT_EQ(put(*map, 1, 7, BPF_NOEXIST, 0), -EEXIST);
  EXPECT_EQ(put(*map, 2, 7, BPF_EXIST, 0), -ENOENT);
  EXPECT_EQ(put(*map, 2, 7, 3, 0), -EINVAL);
  EXPECT_EQ(map->lookup_percpu(&key, kCpus), nullptr);
  EXPECT_EQ(load<uint64_t>(map->lookup_percpu(&key, 3)), 0U);
}

// Memory that was another key's is zeroed for the CPUs that write nothing.
TEST_P(LruHashTest, NewElementsAreZeroForOtherCpus) {
  const auto map = create_lru(2, BPF_MAP_TYPE_LRU_PERCPU_HASH);
  for (uint32_t key = 0; key < 2000; ++key) {
    const EpochDomain::CpuGuard guard(epochs_, 1);
    std::array<uint64_t, kCpus> all{};
    ASSERT_EQ(put(*map, key, 9, BPF_NOEXIST, 1), 0);
    ASSERT_EQ(map->read(&key, all.data(), 0), 0);
    ASSERT_EQ(all, (std::array<uint64_t, kCpus>{0, 9, 0, 0}));
    all.fill(7);
    ASSERT_EQ(map->write(&key, all.data(), BPF_EXIST), 0);
  }
}

TEST_P(LruHashTest, KeysAndValuesOfAnySize) {
  for (const uint32_t key_size : {1U, 4U, 5U, 8U, 16U, 511U}) {
    for (const uint32_t value_size : {1U, 8U, 1000U}) {
      const auto map = create(BPF_MAP_TYPE_LRU_HASH, key_size, value_size, 20 * kCpus, GetParam());
      std::vector<uint8_t> key(key_size, 0x5a);
      std::vector<uint8_t> value(value_size);
      for (uint8_t n = 0; n < 20; ++n) {
        key.back() = n;
        std::iota(value.begin(), value.end(), n);
        ASSERT_EQ(map->update(key.data(), value.data(), BPF_ANY, 0), 0);
      }
      for (uint8_t n = 0; n < 20; ++n) {
        key.back() = n;
        std::iota(value.begin(), value.end(), n);
        const auto* found = static_cast<const uint8_t*>(map->lookup(key.data(), 0));
        ASSERT_NE(found, nullptr);
        EXPECT_TRUE(std::equal(value.begin(), value.end(), found));
        EXPECT_EQ(map->value_containing(reinterpret_cast<uintptr_t>(found)).begin,
                  reinterpret_cast<uintptr_t>(found));
        EXPECT_EQ(map->value_containing(reinterpret_cast<uintptr_t>(found)).size, value_size);
        std::vector<uint8_t> read(key_size);
        EXPECT_TRUE(map->key_of_value(found, read.data()));
        EXPECT_EQ(read, key);
      }
    }
  }
}

// Counts what is let go of.
class Timers final : public TimerKeeper {
 public:
  void release(std::byte* /*timer*/) override { ++released; }
  void release_all(const Map& /*map*/) override { ++emptied; }
  void forget(const Map& /*map*/) override {}
  int released = 0;
  int emptied = 0;
};

TEST_P(LruHashTest, FieldsGoWithTheirElement) {
  Timers timers;
  MapEnvironment environment = environment_;
  environment.timers = &timers;
  MapSpec spec = make_spec(BPF_MAP_TYPE_LRU_HASH, 4, 24, list_per_cpu() ? 2 * kCpus : 2, GetParam());
  const ValueField fields[] = {{FieldKind::kTimer, 0, 16}};
  spec.fields = ValueFields(fields);
  const auto map = *create_map(spec, environment);
  const uint64_t value[3] = {1, 2, 3};
  for (uint32_t key = 1; key <= 3; ++key) {
    ASSERT_EQ(map->update(&key, value, BPF_ANY, 0), 0);
    const auto* found = static_cast<const uint64_t*>(map->lookup(&key, 0));
    EXPECT_EQ(found[0], 0U) << "the timer's field is the runtime's";
    EXPECT_EQ(found[2], 3U);
  }
  // Each that is made anew is let go of once, as somebody may have used its memory after it went.
  const int gone = 3 - static_cast<int>(keys(*map).size());
  EXPECT_EQ(timers.released, 3 + gone);
  const uint32_t key = 3;
  EXPECT_EQ(map->erase_on(&key, 0), 0);
  EXPECT_EQ(timers.released, 4 + gone);
  EXPECT_EQ(map->clear(), 0);
  EXPECT_EQ(timers.emptied, 1);
}

// Half of what is inserted is deleted again, so that lists become full of gaps and elements that are gone.
TEST_P(LruHashTest, AModelAgrees) {
  const auto map = create_lru(200);
  std::map<uint32_t, uint64_t> written;
  uint64_t state = 1;
  for (uint32_t n = 0; n < 40000; ++n) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const auto key = static_cast<uint32_t>(state >> 33) % 500;
    if ((state >> 60) < 7) {
      const bool there = get(*map, key) != UINT64_MAX;
      EXPECT_EQ(map->erase_on(&key, 0), there ? 0 : -ENOENT);
      written.erase(key);
    } else {
      ASSERT_EQ(put(*map, key, n), 0);
      written[key] = n;
    }
    const uint64_t value = get(*map, static_cast<uint32_t>(state >> 40) % 500);
    if (value != UINT64_MAX) {
      ASSERT_EQ(value, written[static_cast<uint32_t>(state >> 40) % 500]);
    }
  }
}

}  // namespace
}  // namespace skep::maps
