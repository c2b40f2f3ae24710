// The tables of bpf_redirect_map's maps: emptying them, reclamation, many writers at once.
#include <atomic>
#include <barrier>
#include <cerrno>
#include <set>
#include <thread>

#include "map_fixture.hpp"
#include "maps/redirect_map.hpp"

namespace skep::maps {
namespace {

class AnyDevice final : public DeviceDirectory {
 public:
  bool has_device(uint32_t ifindex) const override { return ifindex < 1000; }
};

class CountedObject final : public Object {
 public:
  explicit CountedObject(std::atomic<int>& alive) : alive_(alive) { ++alive_; }
  ~CountedObject() override { --alive_; }
  uint32_t id() const override { return 42; }

 private:
  std::atomic<int>& alive_;
};

class TargetMaps : public MapTest {
 protected:
  TargetMaps() { environment_.devices = &devices_; }

  static int put(Map& map, uint32_t key, uint32_t number, uint64_t flags = BPF_ANY) {
    const std::array<uint32_t, 2> value{number, 0};
    return map.write(&key, value.data(), flags);
  }
  int put_with_object(Map& map, uint32_t key, uint32_t number) {
    const std::array<uint32_t, 2> value{number, 3};
    return map.redirects()->write_entry(&key, value.data(), BPF_ANY, [&](int) {
      return Result<std::shared_ptr<Object>>(std::make_shared<CountedObject>(alive_));
    });
  }
  static std::set<uint32_t> keys(Map& map) {
    std::set<uint32_t> found;
    uint32_t key = 0;
    for (int result = map.next_key(nullptr, &key); result == 0;) {
      if (map.redirects()->target(key) != nullptr) found.insert(key);
      const uint32_t current = key;
      result = map.next_key(&current, &key);
    }
    return found;
  }
  void settle() {
    for (uint64_t i = 0; i <= EpochDomain::kGrace; ++i) epochs_.try_advance();
    epochs_.collect();
  }

  AnyDevice devices_;
  std::atomic<int> alive_{0};
};

TEST_F(TargetMaps, ClearEmptiesThem) {
  for (const uint32_t type : {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH}) {
    const auto map = create(type, 4, 8, 1 << 20);
    const EpochDomain::TaskGuard guard(epochs_);
    for (int round = 0; round < 2; ++round) {
      for (const uint32_t key : {0U, 17U, 70000U}) ASSERT_EQ(put(*map, key, 5), 0);
      EXPECT_EQ(map->redirects()->targets().size(), 3U);
      map->clear();
      EXPECT_TRUE(map->redirects()->targets().empty());
    }
  }
}

TEST_F(TargetMaps, ProgramsGoWhenNobodyCanReachThem) {
  for (const uint32_t type : {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_CPUMAP}) {
    auto map = create(type, 4, 8, 4);
    {
      const EpochDomain::CpuGuard reader(epochs_, 0);
      {
        const EpochDomain::TaskGuard guard(epochs_);
        ASSERT_EQ(put_with_object(*map, 1, 5), 0);
        ASSERT_EQ(put_with_object(*map, 2, 5), 0);
      }
      const RedirectTarget* target = map->redirects()->target(1);
      ASSERT_NE(target, nullptr);
      EXPECT_EQ(target->index, type == BPF_MAP_TYPE_CPUMAP ? 1U : 5U);
      {
        const EpochDomain::TaskGuard guard(epochs_);
        const uint32_t key = 1;
        ASSERT_EQ(map->erase(&key), 0);
        EXPECT_EQ(map->redirects()->target(1), nullptr);
      }
      settle();
      EXPECT_EQ(target->program->id(), 42U) << "a run that found it still has it";
    }
    settle();
    EXPECT_EQ(alive_, 1) << type;
    map.reset();
    EXPECT_EQ(alive_, 0) << type;
  }
}

TEST_F(TargetMaps, ValuesAreFoundByTheirAddress) {
  for (const uint32_t size : {4U, 8U}) {
    const auto map = create(BPF_MAP_TYPE_DEVMAP_HASH, 4, size, 4);
    const EpochDomain::TaskGuard guard(epochs_);
    ASSERT_EQ(put(*map, 9, 5), 0);
    const uint32_t key = 9;
    const auto address = reinterpret_cast<uintptr_t>(map->lookup(&key, 0));
    ASSERT_NE(address, 0U);
    EXPECT_EQ(map->value_containing(address).begin, address);
    EXPECT_EQ(map->value_containing(address).size, size);
    EXPECT_EQ(map->value_containing(address + size).size, 0U);
  }
}

TEST_F(TargetMaps, HugeTablesAreRefusedWithoutMemory) {
  const auto made = create_map(make_spec(BPF_MAP_TYPE_DEVMAP, 4, 4, UINT32_MAX), environment_);
  if (!made) {
    EXPECT_EQ(made.error().code, ENOMEM);
  }
}

// Every thread inserts, replaces and deletes keys of its own; the count stays exact, and a key that is only
// replaced is never seen absent.
TEST_F(TargetMaps, ManyWriters) {
  constexpr uint32_t kKeys = 8;
  constexpr int kRounds = 3000;
  const auto map = create(BPF_MAP_TYPE_DEVMAP_HASH, 4, 8, kKeys * kCpus + 1);
  constexpr uint32_t kSteady = 1000;
  {
    const EpochDomain::TaskGuard guard(epochs_);
    ASSERT_EQ(put(*map, kSteady, 1), 0);
  }
  std::atomic<int> wrong{0};
  std::barrier together(kCpus);
  std::vector<std::jthread> threads;
  for (uint32_t t = 0; t < kCpus; ++t)
    threads.emplace_back([&, t] {
      together.arrive_and_wait();
      for (int round = 0; round < kRounds; ++round) {
        const EpochDomain::CpuGuard guard(epochs_, t);
        // Keys of all threads share their chains.
        const uint32_t key = static_cast<uint32_t>(round) % kKeys * 64 + t;
        wrong += put(*map, key, 2) != 0;
        wrong += put(*map, key, 3, BPF_NOEXIST) != -EEXIST;
        wrong += put(*map, kSteady, static_cast<uint32_t>(round) % 900 + 1) != 0;
        const RedirectTarget* steady = map->redirects()->target(kSteady);
        wrong += steady == nullptr || steady->index == 0;
        const RedirectTarget* own = map->redirects()->target(key);
        wrong += own == nullptr || own->index != 2;
        if (round % 2 == 0) wrong += map->erase(&key) != 0;
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0);
  const EpochDomain::TaskGuard guard(epochs_);
  // Odd rounds left their keys, each even round deleted its own: of each thread's eight the odd ones are
  // there.
  EXPECT_EQ(keys(*map).size(), kCpus * kKeys / 2 + 1);
  EXPECT_EQ(map->redirects()->targets().size(), kCpus * kKeys / 2 + 1);
}

// Full maps are called full by everybody, and room by somebody.
TEST_F(TargetMaps, TheCountIsExactUnderContention) {
  constexpr uint32_t kRoom = 3;
  for (int round = 0; round < 200; ++round) {
    const auto map = create(BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, kRoom);
    std::atomic<int> inserted{0};
    std::atomic<int> full{0};
    std::barrier together(kCpus);
    std::vector<std::jthread> threads;
    for (uint32_t t = 0; t < kCpus; ++t)
      threads.emplace_back([&, t] {
        together.arrive_and_wait();
        const EpochDomain::CpuGuard guard(epochs_, t);
        const int result = put(*map, t, 1);
        inserted += result == 0;
        full += result == -E2BIG;
      });
    threads.clear();
    EXPECT_EQ(inserted, 3);
    EXPECT_EQ(full, 1);
  }
}

}  // namespace
}  // namespace skep::maps
