#include <array>
#include <barrier>
#include <cerrno>
#include <map>
#include <thread>

#include "map_fixture.hpp"
#include "maps/lpm_trie.hpp"

namespace skep::maps {
namespace {

struct Key {
  uint32_t length = 0;
  std::array<uint8_t, 4> data{};

  uint32_t bits() const {
    return uint32_t{data[0]} << 24 | uint32_t{data[1]} << 16 | uint32_t{data[2]} << 8 | data[3];
  }
  static Key make(uint32_t length, uint32_t bits) {
    const uint32_t kept = length == 0 ? 0 : bits & ~uint32_t{0} << (32 - length);
    return {length,
            {static_cast<uint8_t>(kept >> 24), static_cast<uint8_t>(kept >> 16),
             static_cast<uint8_t>(kept >> 8), static_cast<uint8_t>(kept)}};
  }
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint32_t next() {
    state_ = state_ * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return static_cast<uint32_t>(state_ >> 32);
  }

 private:
  uint64_t state_;
};

// Addresses that share much: three values for each of the upper bytes.
uint32_t random_address(Random& random) {
  return (random.next() % 3) << 30 | (random.next() % 3) << 16 | (random.next() % 3) << 8 | random.next() % 3;
}

class LpmTrieTest : public MapTest {
 protected:
  std::shared_ptr<Map> make(uint32_t entries) {
    return create(BPF_MAP_TYPE_LPM_TRIE, sizeof(Key), 8, entries, BPF_F_NO_PREALLOC);
  }
  static void expect_same(Map& map, const std::map<std::pair<uint32_t, uint32_t>, uint64_t>& model,
                          uint32_t address) {
    uint64_t expected = 0;
    for (uint32_t length = 0; length <= 32; ++length)
      if (const auto found = model.find({length, Key::make(length, address).bits()}); found != model.end())
        expected = found->second;
    const Key key = Key::make(32, address);
    const void* value = map.lookup(&key, 0);
    ASSERT_EQ(value == nullptr ? 0 : load_relaxed(value), expected) << address;
  }
};

TEST_F(LpmTrieTest, AgreesWithAListOfPrefixes) {
  const auto map = make(1000);
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> model;
  Random random(1);
  for (uint64_t round = 1; round <= 20000; ++round) {
    const EpochDomain::CpuGuard guard(epochs_, 0);
    const Key key = Key::make(random.next() % 33, random_address(random));
    if (random.next() % 2 == 0) {
      ASSERT_EQ(map->update(&key, &round, BPF_ANY, 0), 0);
      model[{key.length, key.bits()}] = round;
    } else {
      ASSERT_EQ(map->erase(&key), model.erase({key.length, key.bits()}) == 0 ? -ENOENT : 0);
    }
    expect_same(*map, model, random_address(random));
    if (round % 1000 != 0) continue;
    // Each key once.
    auto left = model;
    Key at;
    for (int result = map->next_key(nullptr, &at); result == 0;) {
      ASSERT_EQ(left.erase({at.length, at.bits()}), 1U);
      const Key before = at;
      result = map->next_key(&before, &at);
    }
    ASSERT_TRUE(left.empty());
  }
}

TEST_F(LpmTrieTest, ClearedTriesAreEmptyAndHaveRoom) {
  const auto map = make(3);
  for (int round = 0; round < 3; ++round) {
    const EpochDomain::CpuGuard guard(epochs_, 0);
    const uint64_t value = 1;
    for (const uint32_t length : {8U, 24U, 32U}) {
      const Key key = Key::make(length, 0x0a000001);
      ASSERT_EQ(map->update(&key, &value, BPF_NOEXIST, 0), 0);
    }
    EXPECT_EQ(static_cast<LpmTrie&>(*map).clear(), 0);
    Key key = Key::make(32, 0x0a000001);
    EXPECT_EQ(map->lookup(&key, 0), nullptr);
    EXPECT_EQ(map->next_key(nullptr, &key), -ENOENT);
  }
}

// While others change more specific prefixes, the one above them is always found, and values are their keys'.
TEST_F(LpmTrieTest, LookupsSeeWhatStaysWhileOthersChange) {
  const auto map = make(1000);
  const auto value_of = [](const Key& key) { return uint64_t{key.bits()} << 8 | key.length; };
  const Key stays = Key::make(17, 0x0a010000);
  {
    const EpochDomain::CpuGuard guard(epochs_, 0);
    const uint64_t value = value_of(stays);
    ASSERT_EQ(map->update(&stays, &value, BPF_ANY, 0), 0);
  }
  std::atomic<uint64_t> wrong{0};
  std::barrier together(kCpus);
  std::vector<std::jthread> threads;
  for (unsigned cpu = 0; cpu < kCpus; ++cpu)
    threads.emplace_back([&, cpu] {
      Random random(cpu);
      together.arrive_and_wait();
      for (int round = 0; round < 5000; ++round) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        const Key changed = Key::make(18 + random.next() % 15, 0x0a010000 | (random.next() & 0xf));
        const uint64_t value = value_of(changed);
        if (cpu % 2 == 0) {
          map->update(&changed, &value, BPF_ANY, cpu);
          map->erase(&changed);
          continue;
        }
        const Key address = Key::make(32, 0x0a010000 | (random.next() & 0xf));
        const void* found = map->lookup(&address, cpu);
        if (found == nullptr) {
          ++wrong;
          continue;
        }
        const uint64_t is = load_relaxed(found);
        const auto length = static_cast<uint32_t>(is & 0xff);
        if (length < 17 || Key::make(length, address.bits()).bits() != is >> 8) ++wrong;
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0U);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  Key key;
  ASSERT_EQ(map->next_key(nullptr, &key), 0);
  EXPECT_EQ(key.length, 17U) << "the others are gone";
}

}  // namespace
}  // namespace skep::maps
