#include "maps/hash_map.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <numeric>
#include <set>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

class HashTest : public MapTest, public testing::WithParamInterface<uint32_t> {
 protected:
  std::shared_ptr<Map> create_hash(uint32_t key_size, uint32_t value_size, uint32_t max_entries) {
    return create(BPF_MAP_TYPE_HASH, key_size, value_size, max_entries, GetParam());
  }
  static int put(Map& map, uint32_t key, uint64_t value, uint64_t flags = BPF_ANY) {
    return map.update(&key, &value, flags, 0);
  }
  static uint64_t get(Map& map, uint32_t key) {
    const void* value = map.lookup(&key, 0);
    return value == nullptr ? UINT64_MAX : load<uint64_t>(value);
  }
  static int remove(Map& map, uint32_t key) { return map.erase(&key); }

  EpochDomain::CpuGuard guard_{epochs_, 0};
};

INSTANTIATE_TEST_SUITE_P(Allocation, HashTest, testing::Values(0U, uint32_t{BPF_F_NO_PREALLOC}),
                         [](const auto& info) { return info.param == 0 ? "Preallocated" : "AsNeeded"; });

TEST_P(HashTest, InsertsFindsAndDeletes) {
  const auto map = create_hash(4, 8, 10);
  EXPECT_EQ(get(*map, 1), UINT64_MAX);
  EXPECT_EQ(put(*map, 1, 11), 0);
  EXPECT_EQ(put(*map, 2, 22), 0);
  EXPECT_EQ(get(*map, 1), 11U);
  EXPECT_EQ(get(*map, 2), 22U);
  EXPECT_EQ(remove(*map, 1), 0);
  EXPECT_EQ(remove(*map, 1), -ENOENT);
  EXPECT_EQ(get(*map, 1), UINT64_MAX);
  EXPECT_EQ(get(*map, 2), 22U);
  const uint32_t key = 2;
  EXPECT_EQ(map->lookup_percpu(&key, 0), nullptr);
  EXPECT_EQ(map->direct_value(), nullptr);
  EXPECT_EQ(map->memory_descriptor(), -1);
}

TEST_P(HashTest, UpdateFlags) {
  const auto map = create_hash(4, 8, 10);
  EXPECT_EQ(put(*map, 1, 1, BPF_EXIST), -ENOENT);
  EXPECT_EQ(put(*map, 1, 1, BPF_NOEXIST), 0);
  EXPECT_EQ(put(*map, 1, 2, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(get(*map, 1), 1U);
  EXPECT_EQ(put(*map, 1, 3, BPF_EXIST), 0);
  EXPECT_EQ(get(*map, 1), 3U);
  EXPECT_EQ(put(*map, 1, 4, BPF_NOEXIST | BPF_EXIST), -EINVAL);
  EXPECT_EQ(put(*map, 1, 4, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(put(*map, 1, 4, BPF_F_LOCK | BPF_EXIST), -EINVAL);
  EXPECT_EQ(put(*map, 1, 4, 8), -EINVAL);
  EXPECT_EQ(get(*map, 1), 3U);
}

TEST_P(HashTest, AFullMapRefusesNewKeysOnly) {
  const auto map = create_hash(4, 8, 3);
  for (uint32_t key = 0; key < 3; ++key) EXPECT_EQ(put(*map, key, key), 0);
  EXPECT_EQ(put(*map, 9, 9), -E2BIG);
  EXPECT_EQ(put(*map, 9, 9, BPF_NOEXIST), -E2BIG);
  EXPECT_EQ(put(*map, 9, 9, BPF_EXIST), -ENOENT);
  EXPECT_EQ(put(*map, 1, 1, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(put(*map, 1, 100), 0);
  EXPECT_EQ(remove(*map, 0), 0);
  EXPECT_EQ(put(*map, 9, 9), 0);
  EXPECT_EQ(put(*map, 10, 10), -E2BIG);
}

TEST_P(HashTest, AFullMapIsUpdatedAnyNumberOfTimesInOneRun) {
  const auto map = create_hash(4, 8, 2);
  put(*map, 0, 0);
  put(*map, 1, 0);
  const auto* first = static_cast<const uint64_t*>([&] {
    const uint32_t key = 0;
    return map->lookup(&key, 0);
  }());
  for (uint64_t i = 1; i <= 3000; ++i) ASSERT_EQ(put(*map, i % 2, i), 0);
  EXPECT_EQ(get(*map, 0), 3000U);
  EXPECT_EQ(get(*map, 1), 2999U);
  // The pointer from before all that shows the element it was taken from.
  EXPECT_EQ(*first, 0U);
}

TEST_P(HashTest, AnUpdatePutsANewElementInPlaceOfTheOld) {
  const auto map = create_hash(4, 8, 10);
  const uint32_t key = 1;
  put(*map, 1, 5);
  auto* before = static_cast<uint64_t*>(map->lookup(&key, 0));
  put(*map, 1, 6);
  EXPECT_NE(map->lookup(&key, 0), before);
  EXPECT_EQ(*before, 5U);
  remove(*map, 1);
  EXPECT_EQ(*before, 5U);
  *before = 7;  // writes to an element that is gone go nowhere
  EXPECT_EQ(get(*map, 1), UINT64_MAX);
}

TEST_P(HashTest, KeysAndValuesOfAnySize) {
  for (const uint32_t key_size : {1U, 2U, 3U, 4U, 5U, 8U, 12U, 13U, 16U, 64U, 511U}) {
    for (const uint32_t value_size : {1U, 3U, 8U, 15U, 1000U}) {
      const auto map = create_hash(key_size, value_size, 20);
      std::vector<uint8_t> key(key_size, 0x5a);
      std::vector<uint8_t> value(value_size);
      for (uint8_t i = 0; i < 20; ++i) {
        key.back() = i;
        std::iota(value.begin(), value.end(), i);
        ASSERT_EQ(map->update(key.data(), value.data(), BPF_ANY, 0), 0);
      }
      for (uint8_t i = 0; i < 20; ++i) {
        key.back() = i;
        std::iota(value.begin(), value.end(), i);
        const auto* found = static_cast<const uint8_t*>(map->lookup(key.data(), 0));
        ASSERT_NE(found, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(found) % 8, 0U);
        EXPECT_TRUE(std::equal(value.begin(), value.end(), found));
      }
      key.back() = 20;
      EXPECT_EQ(map->lookup(key.data(), 0), nullptr);
    }
  }
}

TEST_P(HashTest, UserSideReadsAndWrites) {
  const auto map = create_hash(4, 8, 2);
  const uint32_t key = 1;
  uint64_t value = 5;
  EXPECT_EQ(map->read(&key, &value, 0), -ENOENT);
  EXPECT_EQ(map->write(&key, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->write(&key, &value, BPF_NOEXIST), 0);
  EXPECT_EQ(map->write(&key, &value, BPF_NOEXIST), -EEXIST);
  value = 0;
  EXPECT_EQ(map->read(&key, &value, 0), 0);
  EXPECT_EQ(value, 5U);
  EXPECT_EQ(map->read(&key, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->read(&key, &value, 2), -EINVAL);
  EXPECT_EQ(map->read_and_erase(&key, &value, 1), -EINVAL);
  EXPECT_EQ(map->read_and_erase(&key, &value, BPF_F_LOCK), -EINVAL);
  value = 0;
  EXPECT_EQ(map->read_and_erase(&key, &value, 0), 0);
  EXPECT_EQ(value, 5U);
  EXPECT_EQ(map->read_and_erase(&key, &value, 0), -ENOENT);
  EXPECT_EQ(map->lookup(&key, 0), nullptr);
}

TEST_P(HashTest, NextKeyVisitsEveryKeyOnce) {
  const auto map = create_hash(4, 8, 100);
  uint32_t next = 0;
  EXPECT_EQ(map->next_key(nullptr, &next), -ENOENT);
  std::set<uint32_t> expected;
  for (uint32_t key = 0; key < 100; ++key) {
    put(*map, key * 7, key);
    expected.insert(key * 7);
  }
  std::set<uint32_t> seen;
  ASSERT_EQ(map->next_key(nullptr, &next), 0);
  const uint32_t first = next;
  do {
    EXPECT_TRUE(seen.insert(next).second);
  } while (map->next_key(&next, &next) == 0);
  EXPECT_EQ(seen, expected);
  // A key that is gone leads back to the first.
  const uint32_t gone = 12345;
  EXPECT_EQ(map->next_key(&gone, &next), 0);
  EXPECT_EQ(next, first);
}

TEST_P(HashTest, BatchReadsBucketByBucket) {
  const auto map = create_hash(4, 8, 64);
  std::map<uint32_t, uint64_t> expected;
  for (uint32_t key = 0; key < 64; ++key) {
    const uint64_t value = uint64_t{key} * 3;
    put(*map, key, value);
    expected[key] = value;
  }
  for (const uint32_t step : {8U, 16U, 64U}) {
    std::map<uint32_t, uint64_t> seen;
    std::vector<uint32_t> keys(step);
    std::vector<uint64_t> values(step);
    uint32_t cursor = 0;
    bool started = false;
    int result = 0;
    while (result == 0) {
      uint32_t count = step;
      result =
          map->read_batch(started ? &cursor : nullptr, &cursor, keys.data(), values.data(), count, 0, false);
      ASSERT_TRUE(result == 0 || result == -ENOENT) << result;
      ASSERT_LE(count, step);
      for (uint32_t i = 0; i < count; ++i) EXPECT_TRUE(seen.emplace(keys[i], values[i]).second);
      started = true;
    }
    EXPECT_EQ(seen, expected);
    EXPECT_EQ(cursor, 64U);  // the number of buckets
  }
}

TEST_P(HashTest, BatchEdges) {
  const auto map = create_hash(4, 8, 4);
  uint32_t keys[4] = {};
  uint64_t values[4] = {};
  uint32_t cursor = 77;
  uint32_t count = 4;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, false), -ENOENT);
  EXPECT_EQ(count, 0U);
  EXPECT_EQ(cursor, 4U);
  for (uint32_t key = 0; key < 4; ++key) put(*map, key, key);
  count = 4;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, false), -ENOENT);
  EXPECT_EQ(count, 4U);
  const uint32_t end = 4;
  EXPECT_EQ(map->read_batch(&end, &cursor, keys, values, count, 0, false), -ENOENT);
  EXPECT_EQ(count, 0U);
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, false), 0);
  count = 4;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 1, false), -EINVAL);
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, BPF_F_LOCK, false), -EINVAL);
}

TEST_P(HashTest, ABucketThatDoesNotFitIsNotSplit) {
  // With 512 keys in 512 buckets some bucket holds several; steps of one element cannot pass it.
  const auto map = create_hash(4, 8, 512);
  for (uint32_t key = 0; key < 512; ++key) put(*map, key, key);
  uint32_t keys[1] = {};
  uint64_t values[1] = {};
  uint32_t cursor = 0;
  uint32_t count = 1;
  int result = map->read_batch(nullptr, &cursor, keys, values, count, 0, false);
  while (result == 0) {
    count = 1;
    result = map->read_batch(&cursor, &cursor, keys, values, count, 0, false);
  }
  EXPECT_EQ(result, -ENOSPC);
  EXPECT_EQ(count, 0U);
  const uint32_t stuck = cursor;
  EXPECT_EQ(map->read_batch(&cursor, &cursor, keys, values, count = 1, 0, false), -ENOSPC);
  EXPECT_EQ(cursor, stuck);
}

TEST_P(HashTest, BatchReadAndDeleteEmptiesTheMap) {
  const auto map = create_hash(4, 8, 100);
  for (uint32_t key = 0; key < 100; ++key) put(*map, key, key);
  std::vector<uint32_t> keys(100);
  std::vector<uint64_t> values(100);
  uint32_t cursor = 0;
  uint32_t count = 100;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys.data(), values.data(), count, 0, true), -ENOENT);
  EXPECT_EQ(count, 100U);
  EXPECT_EQ(std::set<uint32_t>(keys.begin(), keys.end()).size(), 100U);
  uint32_t next = 0;
  EXPECT_EQ(map->next_key(nullptr, &next), -ENOENT);
  for (uint32_t key = 0; key < 100; ++key) EXPECT_EQ(put(*map, key, key), 0);
}

TEST_P(HashTest, ForEachToleratesItsVisitorsChanges) {
  const auto map = create_hash(4, 8, 64);
  for (uint32_t key = 0; key < 64; ++key) put(*map, key, key);
  std::set<uint32_t> seen;
  Visit count([&](const void* key, void* value) {
    EXPECT_EQ(load<uint64_t>(value), load<uint32_t>(key));
    EXPECT_TRUE(seen.insert(load<uint32_t>(key)).second);
    return 0L;
  });
  EXPECT_EQ(map->for_each(count, 0), 64);
  EXPECT_EQ(seen.size(), 64U);

  // Deletes and puts back the element it is visiting: no walk in a circle.
  Visit move([&](const void* key, void* value) {
    const uint32_t copy = load<uint32_t>(key);
    const uint64_t kept = load<uint64_t>(value);
    EXPECT_EQ(map->erase(key), 0);
    EXPECT_EQ(map->update(&copy, &kept, BPF_NOEXIST, 0), 0);
    return 0L;
  });
  EXPECT_EQ(map->for_each(move, 0), 64);

  // Replaces another element at every step.
  Visit replace([&](const void* key, void*) {
    EXPECT_EQ(put(*map, load<uint32_t>(key) ^ 1, 1000, BPF_EXIST), 0);
    return 0L;
  });
  EXPECT_EQ(map->for_each(replace, 0), 64);
  EXPECT_EQ(get(*map, 5), 1000U);

  Visit stop([](const void*, void*) { return 1L; });
  EXPECT_EQ(map->for_each(stop, 0), 1);

  Visit erase([&](const void* key, void*) { return static_cast<long>(map->erase(key)); });
  EXPECT_EQ(map->for_each(erase, 0), 64);
  EXPECT_EQ(map->for_each(count, 0), 0);
}

TEST_P(HashTest, FindsTheValueThatHoldsAnAddress) {
  const auto map = create_hash(4, 12, 4);
  const uint32_t key = 1;
  const uint8_t value[12] = {};
  map->update(&key, value, BPF_ANY, 0);
  const auto begin = reinterpret_cast<uintptr_t>(map->lookup(&key, 0));
  map->erase(&key);
  // The pointer is good until the guard ends, so its value is found though the element is gone.
  EXPECT_EQ(map->value_containing(begin + 11).begin, begin);
  EXPECT_EQ(map->value_containing(begin + 11).size, 12U);
  EXPECT_EQ(map->value_containing(begin + 12).size, 0U);
}

TEST_P(HashTest, ZeroSeedMakesTheOrderOfKeysIndependentOfTheMachine) {
  const auto order = [](const std::shared_ptr<Map>& map) {
    std::vector<uint32_t> keys;
    Visit collect([&](const void* key, void*) {
      keys.push_back(load<uint32_t>(key));
      return 0L;
    });
    for (uint32_t key = 0; key < 64; ++key) put(*map, key, key);
    map->for_each(collect, 0);
    return keys;
  };
  MapEnvironment other = environment_;
  other.hash_seed = 999;
  const MapSpec seeded = make_spec(BPF_MAP_TYPE_HASH, 4, 8, 64, GetParam());
  const MapSpec zero = make_spec(BPF_MAP_TYPE_HASH, 4, 8, 64, GetParam() | BPF_F_ZERO_SEED);
  EXPECT_EQ(order(*create_map(zero, environment_)), order(*create_map(zero, other)));
  EXPECT_NE(order(*create_map(seeded, environment_)), order(*create_map(seeded, other)));
  EXPECT_EQ(order(*create_map(seeded, environment_)), order(*create_map(seeded, environment_)));
}

TEST_P(HashTest, ClearMakesTheMapAsNew) {
  const auto made = HashMap::create(make_spec(BPF_MAP_TYPE_HASH, 4, 8, 100, GetParam()), environment_);
  auto& map = static_cast<HashMap&>(**made);
  const auto fill = [&map] {
    std::vector<const void*> places;
    for (uint32_t key = 0; key < 100; ++key) {
      EXPECT_EQ(put(map, key, key), 0);
      places.push_back(map.lookup(&key, 0));
    }
    return places;
  };
  const auto first = fill();
  put(map, 3, 4);
  remove(map, 5);
  const uint32_t gone = 6;
  EXPECT_EQ(map.erase_on(&gone, 0), 0);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(map.clear(), 0);
    EXPECT_EQ(map.size(), 0U);
    uint32_t next = 0;
    EXPECT_EQ(map.next_key(nullptr, &next), -ENOENT);
    for (uint32_t key = 0; key < 100; ++key) EXPECT_EQ(get(map, key), UINT64_MAX);
    // The same elements in the same order, so that what follows is as in a new map.
    EXPECT_EQ(fill(), first);
    EXPECT_EQ(put(map, 1000, 0), -E2BIG);
  }
}

TEST_P(HashTest, CountStaysExact) {
  const auto made = HashMap::create(make_spec(BPF_MAP_TYPE_HASH, 4, 8, 5, GetParam()), environment_);
  auto& map = static_cast<HashMap&>(**made);
  for (uint32_t key = 0; key < 5; ++key) put(map, key, key);
  put(map, 0, 1);
  put(map, 7, 1);
  EXPECT_EQ(map.size(), 5U);
  remove(map, 0);
  remove(map, 0);
  EXPECT_EQ(map.size(), 4U);
}

}  // namespace
}  // namespace skep::maps
