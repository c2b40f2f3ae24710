#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

constexpr int kNotSupported = 524;

class ArrayTest : public MapTest {
 protected:
  EpochDomain::CpuGuard guard_{epochs_, 0};
};

TEST_F(ArrayTest, EveryElementExistsAndIsZero) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 12, 3);
  for (uint32_t key = 0; key < 3; ++key) {
    const auto* value = static_cast<const uint8_t*>(map->lookup(&key, 0));
    ASSERT_NE(value, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(value) % 8, 0U);
    for (int i = 0; i < 12; ++i) EXPECT_EQ(value[i], 0);
  }
  for (const uint32_t key : {3U, 4U, UINT32_MAX}) EXPECT_EQ(map->lookup(&key, 0), nullptr);
  const uint32_t key = 0;
  EXPECT_EQ(map->lookup_percpu(&key, 0), nullptr);
  EXPECT_EQ(map->user_value_size(), 12U);
}

TEST_F(ArrayTest, UpdateIsInPlace) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 2);
  const uint32_t key = 1;
  void* before = map->lookup(&key, 0);
  const uint64_t value = 0x1122334455667788;
  EXPECT_EQ(map->update(&key, &value, BPF_ANY, 0), 0);
  EXPECT_EQ(map->lookup(&key, 0), before);
  EXPECT_EQ(load<uint64_t>(before), value);
  const uint32_t neighbour = 0;
  EXPECT_EQ(load<uint64_t>(map->lookup(&neighbour, 0)), 0U);
  const uint64_t other = 9;
  EXPECT_EQ(map->update(&key, &other, BPF_EXIST, 0), 0);
  EXPECT_EQ(load<uint64_t>(before), 9U);
}

TEST_F(ArrayTest, OnlyTheValuesBytesAreCopied) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 3, 2);
  const uint8_t value[4] = {1, 2, 3, 0xee};
  const uint32_t key = 0;
  EXPECT_EQ(map->update(&key, value, BPF_ANY, 0), 0);
  uint8_t read[4] = {0xaa, 0xaa, 0xaa, 0xaa};
  EXPECT_EQ(map->read(&key, read, 0), 0);
  EXPECT_EQ(read[2], 3);
  EXPECT_EQ(read[3], 0xaa);
}

TEST_F(ArrayTest, UpdateFlagsOfAProgram) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 2);
  const uint64_t value = 1;
  const uint32_t inside = 0;
  const uint32_t beyond = 2;
  EXPECT_EQ(map->update(&inside, &value, BPF_NOEXIST, 0), -EEXIST);
  EXPECT_EQ(map->update(&inside, &value, BPF_NOEXIST | BPF_EXIST, 0), -EINVAL);
  EXPECT_EQ(map->update(&inside, &value, 8, 0), -EINVAL);
  EXPECT_EQ(map->update(&inside, &value, UINT64_C(1) << 40, 0), -EINVAL);
  EXPECT_EQ(map->update(&inside, &value, BPF_F_LOCK, 0), -EINVAL);
  EXPECT_EQ(map->update(&inside, &value, BPF_F_LOCK | BPF_NOEXIST, 0), -EEXIST);
  EXPECT_EQ(map->update(&beyond, &value, BPF_ANY, 0), -E2BIG);
  EXPECT_EQ(map->update(&beyond, &value, BPF_NOEXIST, 0), -E2BIG);
  EXPECT_EQ(map->update(&beyond, &value, BPF_F_LOCK, 0), -E2BIG);
  EXPECT_EQ(map->update(&beyond, &value, 3, 0), -EINVAL);
  EXPECT_EQ(load<uint64_t>(map->lookup(&inside, 0)), 0U);
}

TEST_F(ArrayTest, UserSideFlagsAndErrors) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 2);
  uint64_t value = 5;
  const uint32_t inside = 1;
  const uint32_t beyond = 2;
  EXPECT_EQ(map->write(&inside, &value, BPF_ANY), 0);
  EXPECT_EQ(map->write(&inside, &value, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(map->write(&beyond, &value, BPF_ANY), -E2BIG);
  EXPECT_EQ(map->write(&beyond, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->write(&inside, &value, 16), -EINVAL);
  value = 0;
  EXPECT_EQ(map->read(&inside, &value, 0), 0);
  EXPECT_EQ(value, 5U);
  EXPECT_EQ(map->read(&inside, &value, 1), -EINVAL);
  EXPECT_EQ(map->read(&inside, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->read(&beyond, &value, 0), -ENOENT);
  EXPECT_EQ(map->erase(&inside), -EINVAL);
  EXPECT_EQ(map->erase(&beyond), -EINVAL);
  EXPECT_EQ(map->read_and_erase(&inside, &value, 0), -kNotSupported);
  EXPECT_EQ(map->read_and_erase(&inside, &value, 1), -EINVAL);
}

TEST_F(ArrayTest, NextKeyCountsAndStartsAgain) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 3);
  uint32_t next = 99;
  EXPECT_EQ(map->next_key(nullptr, &next), 0);
  EXPECT_EQ(next, 0U);
  uint32_t key = 1;
  EXPECT_EQ(map->next_key(&key, &next), 0);
  EXPECT_EQ(next, 2U);
  key = 2;
  EXPECT_EQ(map->next_key(&key, &next), -ENOENT);
  for (const uint32_t beyond : {3U, UINT32_MAX}) {
    next = 99;
    EXPECT_EQ(map->next_key(&beyond, &next), 0);
    EXPECT_EQ(next, 0U);
  }
}

TEST_F(ArrayTest, BatchReadsGoFromKeyToKey) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 4);
  for (uint32_t key = 0; key < 4; ++key) {
    const uint64_t value = key + 10;
    map->update(&key, &value, BPF_ANY, 0);
  }
  uint32_t keys[8] = {};
  uint64_t values[8] = {};
  uint32_t cursor = 77;
  uint32_t count = 3;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, false), 0);
  EXPECT_EQ(count, 3U);
  EXPECT_EQ(cursor, 2U);
  EXPECT_EQ(keys[2], 2U);
  EXPECT_EQ(values[2], 12U);
  // The cursor may be read from where it is written to.
  EXPECT_EQ(map->read_batch(&cursor, &cursor, keys, values, count, 0, false), -ENOENT);
  EXPECT_EQ(count, 1U);
  EXPECT_EQ(cursor, 3U);
  EXPECT_EQ(values[0], 13U);

  count = 4;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, false), 0);
  EXPECT_EQ(count, 4U);
  count = 5;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, false), -ENOENT);
  EXPECT_EQ(count, 4U);
  count = 0;
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, false), 0);
  count = 1;
  const uint32_t beyond = 77;
  EXPECT_EQ(map->read_batch(&beyond, &cursor, keys, values, count, 0, false), 0);
  EXPECT_EQ(cursor, 0U);
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 1, false), -EINVAL);
  EXPECT_EQ(map->read_batch(nullptr, &cursor, keys, values, count, 0, true), -kNotSupported);
}

TEST_F(ArrayTest, ForEachVisitsInOrderAndStops) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 5);
  std::vector<uint32_t> seen;
  Visit all([&](const void* key, void* value) {
    EXPECT_EQ(value, map->lookup(key, 0));
    seen.push_back(load<uint32_t>(key));
    return 0L;
  });
  EXPECT_EQ(map->for_each(all, 0), 5);
  EXPECT_EQ(seen, (std::vector<uint32_t>{0, 1, 2, 3, 4}));
  Visit three([](const void* key, void*) { return load<uint32_t>(key) == 2 ? 1L : 0L; });
  EXPECT_EQ(map->for_each(three, 0), 3);
}

TEST_F(ArrayTest, DirectValueOnlyForASingleElement) {
  const uint32_t zero = 0;
  const auto single = create(BPF_MAP_TYPE_ARRAY, 4, 100, 1);
  EXPECT_EQ(single->direct_value(), single->lookup(&zero, 0));
  EXPECT_NE(single->direct_value(), nullptr);
  EXPECT_EQ(create(BPF_MAP_TYPE_ARRAY, 4, 100, 2)->direct_value(), nullptr);
}

TEST_F(ArrayTest, FindsTheValueThatHoldsAnAddress) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 12, 3);
  for (uint32_t key = 0; key < 3; ++key) {
    const auto begin = reinterpret_cast<uintptr_t>(map->lookup(&key, 0));
    EXPECT_EQ(map->value_containing(begin).begin, begin);
    EXPECT_EQ(map->value_containing(begin + 11).begin, begin);
    EXPECT_EQ(map->value_containing(begin + 11).size, 12U);
    EXPECT_EQ(map->value_containing(begin + 12).size, 0U);
  }
  const uint32_t zero = 0;
  EXPECT_EQ(map->value_containing(reinterpret_cast<uintptr_t>(map->lookup(&zero, 0)) - 1).size, 0U);
  EXPECT_EQ(map->value_containing(reinterpret_cast<uintptr_t>(map->lookup(&zero, 0)) + 48).size, 0U);
}

TEST_F(ArrayTest, AMappableArrayIsItsMemoryFile) {
  EXPECT_EQ(create(BPF_MAP_TYPE_ARRAY, 4, 8, 3)->memory_descriptor(), -1);
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 12, 3, BPF_F_MMAPABLE);
  const int descriptor = map->memory_descriptor();
  ASSERT_GE(descriptor, 0);
  struct stat status{};
  ASSERT_EQ(fstat(descriptor, &status), 0);
  EXPECT_EQ(status.st_size, 4096);
  void* mapped = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  auto* bytes = static_cast<uint8_t*>(mapped);
  const uint32_t key = 2;
  const uint8_t value[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  EXPECT_EQ(map->update(&key, value, BPF_ANY, 0), 0);
  EXPECT_EQ(bytes[43], 12);
  bytes[32] = 0x55;
  EXPECT_EQ(static_cast<uint8_t*>(map->lookup(&key, 0))[0], 0x55);
  char target[64] = {};
  ASSERT_GT(readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), target, sizeof target - 1), 0);
  EXPECT_NE(std::string(target).find("bpf-map"), std::string::npos);
  munmap(mapped, 4096);
}

}  // namespace
}  // namespace skep::maps
