#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "map_fixture.hpp"
#include "maps/map_in_map.hpp"

namespace skep::maps {
namespace {

// What stands in for an inner map: a number that is wiped when it goes.
class Inner final : public Object {
 public:
  Inner(uint32_t id, std::atomic<int>& alive) : number_(id), alive_(alive) { ++alive_; }
  Inner(const Inner&) = delete;
  Inner& operator=(const Inner&) = delete;
  ~Inner() override {
    number_ = 0;
    --alive_;
  }
  uint32_t id() const override { return number_; }
  const void* run_data() const override { return &number_; }

 private:
  uint32_t number_;
  std::atomic<int>& alive_;
};

class HashOfMapsTest : public MapTest {
 protected:
  std::shared_ptr<Map> create_outer(uint32_t entries, uint32_t flags = 0, uint32_t key_size = 4) {
    MapSpec spec = make_spec(BPF_MAP_TYPE_HASH_OF_MAPS, key_size, 4, entries, flags);
    spec.inner = std::make_shared<InnerTemplate>();
    return create(spec);
  }
  int put(Map& map, uint32_t key, uint32_t id, uint64_t flags = BPF_ANY) {
    return map.put_object(&key, std::make_shared<Inner>(id, alive_), flags);
  }
  static uint32_t found(Map& map, uint32_t key) {
    const void* at = map.lookup(&key, 0);
    return at == nullptr ? 0 : load<uint32_t>(at);
  }
  // All that waits for its epoch goes.
  void settle() {
    for (uint64_t n = 0; n <= EpochDomain::kGrace; ++n) epochs_.try_advance();
    epochs_.collect();
  }

  std::atomic<int> alive_{0};
};

TEST_F(HashOfMapsTest, WhatIsReplacedOrDeletedLivesUntilGuardsEnd) {
  const auto map = create_outer(4);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    ASSERT_EQ(put(*map, 1, 10), 0);
    ASSERT_EQ(put(*map, 2, 20), 0);
  }
  auto running = std::make_unique<EpochDomain::CpuGuard>(epochs_, 1);
  uint32_t key = 1;
  const void* first = map->lookup(&key, 1);
  key = 2;
  const void* second = map->lookup(&key, 1);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    ASSERT_EQ(put(*map, 1, 11), 0);
    ASSERT_EQ(map->erase(&key), 0);
  }
  settle();
  EXPECT_EQ(load<uint32_t>(first), 10U);
  EXPECT_EQ(load<uint32_t>(second), 20U);
  EXPECT_EQ(found(*map, 1), 11U);
  EXPECT_EQ(found(*map, 2), 0U);
  EXPECT_EQ(alive_, 3);
  running.reset();
  settle();
  EXPECT_EQ(alive_, 1);
}

TEST_F(HashOfMapsTest, NothingIsKeptOfAnUpdateThatFails) {
  const auto map = create_outer(1);
  const EpochDomain::TaskGuard guard(epochs_);
  EXPECT_EQ(put(*map, 1, 10, BPF_EXIST), -ENOENT);
  EXPECT_EQ(put(*map, 1, 10, 3), -EINVAL);
  EXPECT_EQ(put(*map, 1, 10), 0);
  EXPECT_EQ(put(*map, 1, 11, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(put(*map, 2, 12), -E2BIG);
  EXPECT_EQ(alive_, 1);
  EXPECT_EQ(found(*map, 1), 10U);
}

TEST_F(HashOfMapsTest, ClearAndTheEndLetGoOfAll) {
  for (const uint32_t flags : {0U, uint32_t{BPF_F_NO_PREALLOC}}) {
    auto map = create_outer(64, flags);
    for (int round = 0; round < 3; ++round) {
      {
        const EpochDomain::TaskGuard guard(epochs_);
        for (uint32_t key = 0; key < 70; ++key) EXPECT_EQ(put(*map, key, key + 1), key < 64 ? 0 : -E2BIG);
        uint32_t key = 5;
        EXPECT_EQ(map->erase(&key), 0);
        EXPECT_EQ(put(*map, 6, 600), 0);
      }
      settle();
      EXPECT_EQ(alive_, 63);
      ASSERT_EQ(map->clear(), 0);
      EXPECT_EQ(alive_, 0);
      EXPECT_EQ(found(*map, 6), 0U);
    }
    {
      const EpochDomain::TaskGuard guard(epochs_);
      ASSERT_EQ(put(*map, 1, 10), 0);
    }
    map.reset();
    EXPECT_EQ(alive_, 0);
  }
}

TEST_F(HashOfMapsTest, ProgramsLookUpAndNoMore) {
  const auto map = create_outer(4, 0, 16);
  std::array<uint32_t, 4> key{1, 2, 3, 4};
  const EpochDomain::TaskGuard guard(epochs_);
  ASSERT_EQ(map->put_object(key.data(), std::make_shared<Inner>(7, alive_), BPF_ANY), 0);
  uint32_t value = 0;
  EXPECT_EQ(map->update(key.data(), &value, BPF_ANY, 0), -524);
  EXPECT_EQ(map->erase_on(key.data(), 0), -524);
  EXPECT_EQ(map->write(key.data(), &value, BPF_ANY), -EINVAL);
  Visit visit([](const void*, void*) -> long { return 0; });
  EXPECT_EQ(map->for_each(visit, 0), -524);
  const void* inner = map->lookup(key.data(), 0);
  ASSERT_NE(inner, nullptr);
  EXPECT_EQ(map->lookup_function()(*map, key.data(), 0), inner);
  EXPECT_EQ(map->value_containing(reinterpret_cast<uintptr_t>(inner)).size, 0U);
  EXPECT_EQ(map->as_inner(), nullptr);
}

TEST_F(HashOfMapsTest, WhatIsLookedUpStaysWhileOthersReplaceAndDelete) {
  constexpr uint32_t kKeys = 8;
  constexpr int kRounds = 20000;
  const auto map = create_outer(kKeys / 2);
  std::atomic<int> wrong{0};
  {
    std::barrier together(4);
    std::vector<std::jthread> threads;
    for (unsigned cpu = 0; cpu < 2; ++cpu)
      threads.emplace_back([&, cpu] {
        together.arrive_and_wait();
        for (int round = 0; round < kRounds; ++round) {
          const EpochDomain::CpuGuard guard(epochs_, cpu);
          const uint32_t key = static_cast<uint32_t>(round) % kKeys;
          const void* inner = map->lookup(&key, cpu);
          if (inner != nullptr && load<uint32_t>(inner) % kKeys != key) ++wrong;
          if (inner != nullptr && load<uint32_t>(inner) == 0) ++wrong;
        }
      });
    for (uint32_t writer = 0; writer < 2; ++writer)
      threads.emplace_back([&, writer] {
        together.arrive_and_wait();
        for (uint32_t round = 0; round < kRounds; ++round) {
          const EpochDomain::TaskGuard guard(epochs_);
          const uint32_t key = (round * 5 + writer) % kKeys;
          uint32_t id = 0;
          if (round % 3 == 0)
            map->erase(&key);
          else
            put(*map, key, kKeys * (round + 1) + key);
          if (map->read(&key, &id, 0) == 0 && id % kKeys != key) ++wrong;
        }
      });
  }
  EXPECT_EQ(wrong, 0);
  settle();
  EXPECT_LE(alive_, static_cast<int>(kKeys / 2));
  map->clear();
  settle();
  EXPECT_EQ(alive_, 0);
}

}  // namespace
}  // namespace skep::maps
