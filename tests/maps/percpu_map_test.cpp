#include <algorithm>
#include <array>
#include <cerrno>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

// The per-CPU types with an element 0 that exists from the beginning.
class PerCpuTest : public MapTest, public testing::WithParamInterface<uint32_t> {
 protected:
  static constexpr uint32_t kKey = 0;
  using UserValue = std::array<std::array<uint8_t, 16>, kCpus>;

  std::shared_ptr<Map> create_percpu(uint32_t value_size) {
    auto map = create(GetParam(), 4, value_size, 3);
    if (GetParam() != BPF_MAP_TYPE_PERCPU_ARRAY) {
      const std::vector<uint8_t> zero(map->user_value_size());
      EXPECT_EQ(map->write(&kKey, zero.data(), BPF_NOEXIST), 0);
    }
    return map;
  }

  EpochDomain::CpuGuard guard_{epochs_, 0};
};

INSTANTIATE_TEST_SUITE_P(Types, PerCpuTest,
                         testing::Values(uint32_t{BPF_MAP_TYPE_PERCPU_ARRAY},
                                         uint32_t{BPF_MAP_TYPE_PERCPU_HASH},
                                         uint32_t{BPF_MAP_TYPE_LRU_PERCPU_HASH}),
                         [](const auto& info) { return find_map_type(info.param)->name; });

TEST_P(PerCpuTest, EachCpuHasItsValue) {
  const auto map = create_percpu(8);
  std::array<void*, kCpus> values{};
  for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
    values[cpu] = map->lookup(&kKey, cpu);
    ASSERT_NE(values[cpu], nullptr);
    EXPECT_EQ(map->lookup_percpu(&kKey, cpu), values[cpu]);
    EXPECT_EQ(std::count(values.begin(), values.begin() + cpu, values[cpu]), 0);
  }
  EXPECT_EQ(map->lookup_percpu(&kKey, kCpus), nullptr);
  EXPECT_EQ(map->lookup_percpu(&kKey, UINT32_MAX), nullptr);
  const uint32_t missing = 99;
  EXPECT_EQ(map->lookup(&missing, 0), nullptr);
  EXPECT_EQ(map->lookup_percpu(&missing, 0), nullptr);
  EXPECT_EQ(map->direct_value(), nullptr);
}

TEST_P(PerCpuTest, AProgramUpdatesItsOwnValueInPlace) {
  const auto map = create_percpu(8);
  void* before = map->lookup(&kKey, 2);
  const uint64_t value = 7;
  EXPECT_EQ(map->update(&kKey, &value, BPF_EXIST, 2), 0);
  EXPECT_EQ(map->lookup(&kKey, 2), before);
  std::array<uint64_t, kCpus> user{};
  EXPECT_EQ(map->read(&kKey, user.data(), 0), 0);
  EXPECT_EQ(user, (std::array<uint64_t, kCpus>{0, 0, 7, 0}));
}

TEST_P(PerCpuTest, UserSpaceSeesAllValuesRoundedToEight) {
  const auto map = create_percpu(12);
  EXPECT_EQ(map->user_value_size(), 16U * kCpus);
  UserValue user{};
  for (uint8_t cpu = 0; cpu < kCpus; ++cpu) user[cpu].fill(static_cast<uint8_t>(cpu + 1));
  EXPECT_EQ(map->write(&kKey, user.data(), BPF_ANY), 0);
  for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
    EXPECT_EQ(load<uint32_t>(map->lookup(&kKey, cpu)), 0x01010101U * (cpu + 1));
  }
  // A program's update leaves the padding; user space reads it back as it wrote it.
  const std::array<uint8_t, 16> program = {9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 8, 8, 8, 8};
  EXPECT_EQ(map->update(&kKey, program.data(), BPF_ANY, 1), 0);
  UserValue read{};
  EXPECT_EQ(map->read(&kKey, read.data(), 0), 0);
  EXPECT_EQ(read[0], user[0]);
  EXPECT_EQ(read[1], (std::array<uint8_t, 16>{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2, 2, 2, 2}));
  EXPECT_EQ(read[3], user[3]);
}

TEST_P(PerCpuTest, FlagsThatAreRefused) {
  const auto map = create_percpu(8);
  std::array<uint64_t, kCpus> user{};
  EXPECT_EQ(map->write(&kKey, user.data(), BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(map->write(&kKey, user.data(), BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->write(&kKey, user.data(), 3), -EINVAL);
  EXPECT_EQ(map->read(&kKey, user.data(), BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->read(&kKey, user.data(), 1), -EINVAL);
  EXPECT_EQ(map->update(&kKey, user.data(), BPF_NOEXIST, 0), -EEXIST);
  EXPECT_EQ(map->update(&kKey, user.data(), BPF_F_LOCK, 0), -EINVAL);
  EXPECT_EQ(map->update(&kKey, user.data(), 3, 0), -EINVAL);
  const uint32_t missing = 99;
  EXPECT_EQ(map->read(&missing, user.data(), 0), -ENOENT);
}

TEST_P(PerCpuTest, ForEachShowsTheCpusValue) {
  const auto map = create_percpu(8);
  const uint64_t value = 5;
  map->update(&kKey, &value, BPF_ANY, 3);
  for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
    Visit visit([&](const void* key, void* found) {
      EXPECT_EQ(found, map->lookup(key, cpu));
      return 1L;
    });
    EXPECT_EQ(map->for_each(visit, cpu), 1);
  }
}

TEST_P(PerCpuTest, FindsTheValueThatHoldsAnAddress) {
  const auto map = create_percpu(12);
  for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
    const auto begin = reinterpret_cast<uintptr_t>(map->lookup(&kKey, cpu));
    EXPECT_EQ(map->value_containing(begin + 11).begin, begin);
    EXPECT_EQ(map->value_containing(begin + 11).size, 12U);
    EXPECT_EQ(map->value_containing(begin + 12).size, 0U);
  }
}

TEST_P(PerCpuTest, BatchReadsCarryAllValues) {
  const auto map = create_percpu(8);
  const uint64_t value = 5;
  map->update(&kKey, &value, BPF_ANY, 1);
  std::array<uint32_t, 4> keys{};
  std::array<std::array<uint64_t, kCpus>, 4> values{};
  uint32_t cursor = 0;
  uint32_t count = 4;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys.data(), values.data(), count, 0, false), -ENOENT);
  EXPECT_EQ(count, GetParam() == BPF_MAP_TYPE_PERCPU_ARRAY ? 3U : 1U);
  EXPECT_EQ(keys[0], kKey);
  EXPECT_EQ(values[0], (std::array<uint64_t, kCpus>{0, 5, 0, 0}));
}

class PerCpuHashTest : public MapTest {
 protected:
  EpochDomain::CpuGuard guard_{epochs_, 0};
};

TEST_F(PerCpuHashTest, AnInsertedKeyIsZeroOnOtherCpus) {
  const auto map = create(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 2);
  const uint32_t key = 1;
  std::array<uint64_t, kCpus> user = {1, 2, 3, 4};
  // Memory that was used before, so that zero is not just fresh memory.
  for (int round = 0; round < 400; ++round) {
    ASSERT_EQ(map->write(&key, user.data(), BPF_NOEXIST), 0);
    ASSERT_EQ(map->erase(&key), 0);
  }
  const uint64_t value = 9;
  EXPECT_EQ(map->update(&key, &value, BPF_EXIST, 1), -ENOENT);
  EXPECT_EQ(map->update(&key, &value, BPF_NOEXIST, 1), 0);
  EXPECT_EQ(map->read(&key, user.data(), 0), 0);
  EXPECT_EQ(user, (std::array<uint64_t, kCpus>{0, 9, 0, 0}));
}

TEST_F(PerCpuHashTest, InsertedZerosIncludeRecycledMemory) {
  const auto map = create(BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 1);
  const uint32_t key = 1;
  for (int round = 0; round < 400; ++round) {
    const EpochDomain::CpuGuard guard(epochs_, 1);
    std::array<uint8_t, 16> program;
    program.fill(0xff);
    ASSERT_EQ(map->update(&key, program.data(), BPF_NOEXIST, 1), 0);
    std::array<std::array<uint8_t, 16>, kCpus> user{};
    ASSERT_EQ(map->read(&key, user.data(), 0), 0);
    ASSERT_EQ(user[0], (std::array<uint8_t, 16>{}));
    ASSERT_EQ(user[1][11], 0xff);
    ASSERT_EQ(user[1][12], 0);
    for (auto& row : user) row.fill(0xee);
    ASSERT_EQ(map->write(&key, user.data(), BPF_EXIST), 0);
    ASSERT_EQ(map->erase(&key), 0);
  }
}

TEST_F(PerCpuHashTest, ReadAndEraseReturnsAllValues) {
  const auto map = create(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 2, BPF_F_NO_PREALLOC);
  const uint32_t key = 1;
  std::array<uint64_t, kCpus> user = {1, 2, 3, 4};
  EXPECT_EQ(map->write(&key, user.data(), BPF_ANY), 0);
  std::array<uint64_t, kCpus> read{};
  EXPECT_EQ(map->read_and_erase(&key, read.data(), BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->read_and_erase(&key, read.data(), 0), 0);
  EXPECT_EQ(read, user);
  EXPECT_EQ(map->read_and_erase(&key, read.data(), 0), -ENOENT);
}

TEST_F(PerCpuHashTest, AFullMapRefusesNewKeysOnly) {
  const auto map = create(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 1);
  const uint64_t value = 1;
  const uint32_t first = 1;
  const uint32_t second = 2;
  EXPECT_EQ(map->update(&first, &value, BPF_ANY, 0), 0);
  EXPECT_EQ(map->update(&second, &value, BPF_ANY, 0), -E2BIG);
  EXPECT_EQ(map->update(&first, &value, BPF_ANY, 3), 0);
}

// Memory that was used before is zeroed for the CPUs that write nothing.
TEST_F(PerCpuHashTest, NewElementsAreZeroForOtherCpusAfterClear) {
  const auto map = create(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 2);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  const uint32_t key = 7;
  const std::array<uint64_t, kCpus> all{1, 2, 3, 4};
  ASSERT_EQ(map->write(&key, all.data(), BPF_ANY), 0);
  EXPECT_EQ(map->clear(), 0);
  EXPECT_EQ(map->lookup(&key, 0), nullptr);
  const uint64_t mine = 9;
  ASSERT_EQ(map->update(&key, &mine, BPF_ANY, 0), 0);
  std::array<uint64_t, kCpus> seen{};
  ASSERT_EQ(map->read(&key, seen.data(), 0), 0);
  EXPECT_EQ(seen, (std::array<uint64_t, kCpus>{9, 0, 0, 0}));
}

}  // namespace
}  // namespace skep::maps
