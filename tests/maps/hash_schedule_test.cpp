#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "fibers.hpp"
#include "history.hpp"
#include "maps/hash_table_impl.hpp"

// Explores interleavings of threads on a hash table, atomic operation by atomic operation, and holds what
// came of it against a map that does one thing after the other. A failure names its seed;
// SKEP_SCHEDULE_SEED=n runs that schedule alone, SKEP_SCHEDULES=n so many.

namespace skep::maps {
namespace {

using Clock = EpochClock<SteppedAtomics>;
using Pool = BasicElementPool<SteppedAtomics>;
using Table = BasicHashTable<SteppedAtomics>;

constexpr unsigned kThreads = 3;
constexpr uint32_t kMaxEntries = 2;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
  }
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(next() % bound); }

 private:
  uint64_t state_;
};

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// Stays with a thread for a while; how long differs from schedule to schedule.
Fibers::Choose by_chance(Random& random) {
  const uint32_t patience = 1 + random.below(12);
  return [&random, patience](const std::vector<size_t>& runnable, size_t current) {
    if (std::ranges::find(runnable, current) != runnable.end() && random.below(patience) != 0) return current;
    return runnable[random.below(static_cast<uint32_t>(runnable.size()))];
  };
}

// What a thread does, one operation after the other.
using Script = std::vector<Operation>;

Operation lookup(uint32_t key) { return {.kind = Kind::kLookup, .key = key}; }
Operation take(uint32_t key) { return {.kind = Kind::kTake, .key = key}; }
Operation put(uint32_t key, uint64_t value, uint64_t flags = BPF_ANY) {
  return {.kind = Kind::kPut, .key = key, .flags = flags, .value = value};
}

// A table with few places, few buckets, and elements so large that each is a batch of its own: elements move
// between caches, lists and bags after a few operations. Thread n is CPU n.
class World {
 public:
  explicit World(uint64_t buckets, const Contents& before)
      : clock_(kThreads),
        pool_(clock_, {.key_size = 4, .value_size = 256 << 10}, kMaxEntries),
        table_(pool_, kThreads, 4, kMaxEntries, buckets, 1),
        before_(before) {
    for (const auto& [key, value] : before) put_now(key, value);
  }

  Table& table() { return table_; }
  Fibers& fibers() { return fibers_; }

  void add(Script script) {
    const auto cpu = static_cast<unsigned>(scripts_.size());
    scripts_.push_back(std::make_unique<Script>(std::move(script)));
    fibers_.add([this, cpu, &mine = *scripts_.back()] {
      for (Operation& operation : mine) perform(operation, cpu);
    });
  }
  const Script& script(size_t thread) const { return *scripts_[thread]; }

  // When all are through: "" or what is wrong.
  std::string verdict() {
    std::string wrong = wrong_;
    std::vector<Operation> history;
    for (const auto& script : scripts_) history.insert(history.end(), script->begin(), script->end());
    const Contents after = contents(wrong);
    if (table_.size() != after.size()) wrong += "the count is wrong; ";
    if (!is_linearizable(history, before_, after, kMaxEntries)) wrong += "not linearizable; ";
    // All places that are left can be had, and no more.
    for (uint32_t key = 100; key < 100 + kMaxEntries - after.size(); ++key) {
      if (put_now(key, key) != 0) wrong += "a place was lost; ";
    }
    if (put_now(99, 99) != -E2BIG) wrong += "there is a place too many; ";
    return wrong.empty() ? "" : wrong + "\n" + describe(history);
  }

  // Keys and values met by a walk.
  std::vector<std::pair<uint32_t, uint64_t>> walk() {
    std::vector<std::pair<uint32_t, uint64_t>> met;
    for (uint64_t bucket = 0; bucket < table_.buckets(); ++bucket) {
      for (auto* element = table_.first(bucket); element != nullptr; element = table_.after(element))
        met.emplace_back(load<uint32_t>(pool_.key(element)), load<uint64_t>(pool_.value(element)));
    }
    return met;
  }

  // Inside CPU `cpu`'s guard.
  template <class Function>
  void inside(unsigned cpu, const Function& function) {
    auto& participant = clock_.cpu_participant(cpu);
    clock_.enter(participant);
    function();
    clock_.leave(participant);
  }

  int put_by(unsigned cpu, uint32_t key, uint64_t value, uint64_t flags = BPF_ANY) {
    return table_.put(&key, flags, pool_.cache(cpu), [&](Pool::Element* element) {
      const std::array words{value, value};
      std::memcpy(pool_.value(element), &words[0], sizeof words[0]);
      Fibers::step();
      std::memcpy(pool_.value(element) + sizeof words[0], &words[1], sizeof words[1]);
    });
  }
  Pool::Element* take_by(unsigned cpu, uint32_t key) { return table_.take(&key, pool_.cache(cpu)); }

 private:
  template <class T>
  static T load(const std::byte* from) {
    T out;
    std::memcpy(&out, from, sizeof out);
    return out;
  }

  int put_now(uint32_t key, uint64_t value) {
    int result = 0;
    inside(0, [&] { result = put_by(0, key, value); });
    return result;
  }

  void perform(Operation& operation, unsigned cpu) {
    operation.called = fibers_.steps();
    inside(cpu, [&] {
      Pool::Element* element = nullptr;
      if (operation.kind == Kind::kPut) {
        operation.result = put_by(cpu, operation.key, operation.value, operation.flags);
      } else if (operation.kind == Kind::kTake) {
        element = take_by(cpu, operation.key);
      } else {
        element = table_.find(&operation.key);
      }
      operation.returned = fibers_.steps();
      if (element != nullptr) operation.found = hold(element, operation.key);
    });
  }

  // Whoever holds an element sees no other in its place until it leaves, nor a value half written.
  uint64_t hold(Pool::Element* element, uint32_t key) {
    const auto value = load<uint64_t>(pool_.value(element));
    for (int n = 0; n < 6; ++n) {
      Fibers::step();
      if (load<uint64_t>(pool_.value(element)) != value ||
          load<uint64_t>(pool_.value(element) + sizeof value) != value)
        wrong_ += "a value has changed; ";
      if (load<uint32_t>(pool_.key(element)) != key) wrong_ += "a key has changed; ";
    }
    return value;
  }

  Contents contents(std::string& wrong) {
    Contents all;
    for (const auto& [key, value] : walk()) {
      if (!all.emplace(key, value).second) wrong += "a key is there twice; ";
    }
    return all;
  }

  Clock clock_;
  Pool pool_;
  Table table_;
  Contents before_;
  Fibers fibers_;
  std::vector<std::unique_ptr<Script>> scripts_;
  std::string wrong_;
};

Operation any_operation(Random& random, uint64_t value) {
  const uint32_t key = random.below(3);
  switch (random.below(6)) {
    case 0:
      return lookup(key);
    case 1:
      return take(key);
    case 2:
      return put(key, value, BPF_NOEXIST);
    case 3:
      return put(key, value, BPF_EXIST);
    default:
      return put(key, value);
  }
}

std::string run_by_chance(uint64_t seed) {
  Random random(seed);
  Contents before;
  for (uint32_t left = random.below(kMaxEntries + 1); left != 0; --left)
    before[random.below(3)] = 1000 + left;
  World world(1 + random.below(2), before);
  uint64_t value = 1;
  for (uint32_t threads = 2 + random.below(kThreads - 1); threads != 0; --threads) {
    Script script;
    for (uint32_t length = 1 + random.below(4); length != 0; --length)
      script.push_back(any_operation(random, value++));
    world.add(std::move(script));
  }
  world.fibers().run(by_chance(random));
  return world.verdict();
}

TEST(HashSchedule, HistoriesAreLinearizable) {
  const char* only = std::getenv("SKEP_SCHEDULE_SEED");
  const uint64_t first = only == nullptr ? 1 : setting("SKEP_SCHEDULE_SEED", 1);
  const uint64_t count = only == nullptr ? setting("SKEP_SCHEDULES", 20000) : 1;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    ASSERT_EQ(run_by_chance(seed), "") << "SKEP_SCHEDULE_SEED=" << seed;
  }
}

// Two threads, of which the one that runs changes at the steps given.
std::string run_with_changes(const Contents& before, const Script& first, const Script& second,
                             const std::vector<uint64_t>& changes, uint64_t& steps) {
  World world(1, before);
  world.add(first);
  world.add(second);
  size_t changed = 0;
  world.fibers().run([&](const std::vector<size_t>& runnable, size_t current) {
    if (changed < changes.size() && world.fibers().steps() >= changes[changed]) {
      ++changed;
      if (current != Fibers::kNobody) current = 1 - current;
    }
    return std::ranges::find(runnable, current) != runnable.end() ? current : runnable.front();
  });
  steps = world.fibers().steps();
  return world.verdict();
}

struct Pair {
  const char* name;
  Contents before;
  Script first;
  Script second;
  friend void PrintTo(const Pair& pair, std::ostream* out) { *out << pair.name; }
};

class HashPairs : public testing::TestWithParam<Pair> {};
INSTANTIATE_TEST_SUITE_P(
    Operations, HashPairs,
    testing::Values(
        Pair{"TwoInsertOneKey", {}, {put(0, 1, BPF_NOEXIST)}, {put(0, 2, BPF_NOEXIST)}},
        Pair{"TwoInsertWithOnePlaceLeft", {{2, 9}}, {put(0, 1)}, {put(1, 2)}},
        Pair{"TwoPutOneKeyWithOnePlaceLeft", {{2, 9}}, {put(0, 1)}, {put(0, 2)}},
        Pair{"TwoReplaceOneKey", {{0, 8}, {1, 9}}, {put(0, 1)}, {put(0, 2), lookup(0)}},
        Pair{"TwoReplaceNeighbours", {{0, 8}, {1, 9}}, {put(0, 1)}, {put(1, 2)}},
        Pair{"ReplaceAndTake", {{0, 8}, {1, 9}}, {put(0, 1)}, {take(0), lookup(0)}},
        Pair{"TwoTakeOneKey", {{0, 8}, {1, 9}}, {take(0)}, {take(0), lookup(1)}},
        Pair{"TwoTakeNeighbours", {{0, 8}, {1, 9}}, {take(0)}, {take(1), lookup(0)}},
        Pair{"TakeAndInsertAgain", {{0, 8}, {1, 9}}, {take(0), put(0, 1)}, {lookup(0), lookup(1)}},
        Pair{"TakeWhileTheNeighbourIsReplaced", {{0, 8}, {1, 9}}, {take(0)}, {put(1, 2), lookup(1)}},
        Pair{"LookupWhileReplacedTwice", {{0, 8}, {1, 9}}, {put(0, 1), put(0, 2)}, {lookup(0), lookup(1)}},
        Pair{"TheLastPlaceGoesRound", {{0, 8}, {1, 9}}, {take(0), put(2, 1)}, {take(1), put(2, 2)}}),
    [](const auto& info) { return std::string(info.param.name); });

// Every interleaving in which the threads change over at most three times.
TEST_P(HashPairs, AreLinearizable) {
  const Pair& pair = GetParam();
  uint64_t steps = 0;
  ASSERT_EQ(run_with_changes(pair.before, pair.first, pair.second, {}, steps), "");
  const uint64_t end = steps;
  for (uint64_t one = 0; one < end; ++one) {
    for (uint64_t two = one + 1; two < end; ++two) {
      // The third change, where the one who has waited goes on, comes by itself when a thread is through.
      ASSERT_EQ(run_with_changes(pair.before, pair.first, pair.second, {one, two}, steps), "")
          << "changes at steps " << one << " and " << two;
    }
  }
}

// Thread 0 is stopped after each of its steps in turn; the others do everything there is to do, within a
// number of steps, and then it goes on.
class HashStopped : public testing::TestWithParam<Operation> {};
INSTANTIATE_TEST_SUITE_P(Operations, HashStopped,
                         testing::Values(lookup(0), take(0), put(0, 1), put(2, 1), put(2, 1, BPF_NOEXIST)),
                         [](const auto& info) { return std::to_string(info.index); });

TEST_P(HashStopped, StopsNobody) {
  constexpr uint64_t kEnough = 5000;
  for (uint64_t stop = 0;; ++stop) {
    World world(1, GetParam().key == 0 ? Contents{{0, 8}, {1, 9}} : Contents{{1, 9}});
    world.add({GetParam()});
    world.add({lookup(0), lookup(1), put(0, 11), take(0), put(0, 12), lookup(0)});
    world.add({put(1, 21), take(2), put(2, 22), take(1), put(1, 23)});
    world.fibers().run([&](const std::vector<size_t>& runnable, size_t) {
      return runnable.front() == 0 && world.fibers().steps() < stop ? 0 : Fibers::kNobody;
    });
    if (world.fibers().done(0)) break;
    const uint64_t begin = world.fibers().steps();
    Random random(stop);
    world.fibers().run([&](const std::vector<size_t>& runnable, size_t current) {
      if (runnable == std::vector<size_t>{0} || world.fibers().steps() > begin + kEnough)
        return Fibers::kNobody;
      if (current != 0 && current != Fibers::kNobody && !world.fibers().done(current) && random.below(4) != 0)
        return current;
      return runnable[1 + random.below(static_cast<uint32_t>(runnable.size() - 1))];
    });
    ASSERT_TRUE(world.fibers().done(1) && world.fibers().done(2)) << "stopped at step " << stop;
    world.fibers().run([](const std::vector<size_t>& runnable, size_t) { return runnable.front(); });
    ASSERT_EQ(world.verdict(), "") << "stopped at step " << stop;
  }
}

// Behind a key that is replaced whenever the reader takes a step.
TEST(HashSchedule, LookupsTakeABoundedNumberOfSteps) {
  World world(1, {{0, 8}, {1, 9}});
  bool begun = false;
  bool found = false;
  uint64_t replaced = 0;
  world.fibers().add([&] {
    world.inside(0, [&] {
      begun = true;
      const uint32_t key = 0;  // put in first, so behind the other
      found = world.table().find(&key) != nullptr;
    });
  });
  world.fibers().add([&] {
    for (; !world.fibers().done(0) && replaced < 1000; ++replaced)
      world.inside(1, [&] { world.put_by(1, 1, replaced); });
  });
  uint64_t turns = 0;
  uint64_t seen = 0;
  world.fibers().run([&](const std::vector<size_t>& runnable, size_t) -> size_t {
    if (!begun) return 0;
    if (runnable.front() != 0 || (runnable.size() == 2 && replaced == seen)) return runnable.back();
    seen = replaced;
    ++turns;
    return 0;
  });
  EXPECT_TRUE(found);
  // The head, the way past the element in front, the element, and leaving.
  EXPECT_LE(turns, 6U);
}

TEST(HashSchedule, AWalkMeetsOnceWhatIsThereAllTheTime) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Random random(seed);
    World world(1 + random.below(2), {{0, 8}, {1, 9}});
    std::vector<std::pair<uint32_t, uint64_t>> met;
    world.fibers().add([&] { world.inside(0, [&] { met = world.walk(); }); });
    world.fibers().add([&] {
      for (uint64_t n = 100; n < 104; ++n) world.inside(1, [&] { world.put_by(1, 0, n); });
    });
    world.fibers().add([&] {
      for (uint64_t n = 200; n < 202; ++n) {
        world.inside(2, [&] { world.take_by(2, 1); });
        world.inside(2, [&] { world.put_by(2, 1, n); });
      }
    });
    world.fibers().run(by_chance(random));
    ASSERT_EQ(std::ranges::count(met, 0U, &std::pair<uint32_t, uint64_t>::first), 1) << "seed " << seed;
    for (const auto& [key, value] : met) {
      const bool written =
          key == 0 ? value == 8 || (value >= 100 && value < 104) : value == 9 || value == 200 || value == 201;
      ASSERT_TRUE(written) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace skep::maps
