#pragma once

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
#include <utility>
#include <vector>

#include "fibers.hpp"
#include "history.hpp"
#include "maps/hash_table_impl.hpp"

// Threads on a hash table, one atomic operation after the other, and what came of it.

namespace skep::maps {

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

inline uint64_t setting(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// Stays with a thread for a while; how long differs from schedule to schedule.
inline Fibers::Choose by_chance(Random& random) {
  const uint32_t patience = 1 + random.below(12);
  return [&random, patience](const std::vector<size_t>& runnable, size_t current) {
    if (std::ranges::find(runnable, current) != runnable.end() && random.below(patience) != 0) return current;
    return runnable[random.below(static_cast<uint32_t>(runnable.size()))];
  };
}

// What a thread does, one operation after the other.
using Script = std::vector<Operation>;

inline Operation lookup(uint32_t key) { return {.kind = Kind::kLookup, .key = key}; }
inline Operation take(uint32_t key) { return {.kind = Kind::kTake, .key = key}; }
inline Operation put(uint32_t key, uint64_t value, uint64_t flags = BPF_ANY) {
  return {.kind = Kind::kPut, .key = key, .flags = flags, .value = value};
}

// What a table of kMaxEntries is to the World.
class HashSubject {
 public:
  static constexpr uint32_t kRoom = kMaxEntries;
  static constexpr bool kEvicts = false;
  static constexpr uint32_t kPrefix = 0;

  HashSubject(Pool& pool, Table& table) : pool_(pool), table_(table) {}
  template <class Fill>
  int put(uint32_t key, uint64_t flags, unsigned cpu, const Fill& fill) {
    return table_.put(&key, flags, pool_.cache(cpu), fill);
  }
  Pool::Element* take(uint32_t key, unsigned cpu) { return table_.take(&key, pool_.cache(cpu)); }
  Pool::Element* find(uint32_t key) { return table_.find(&key); }
  uint32_t size() const { return table_.size(); }

 private:
  Pool& pool_;
  Table& table_;
};

// A table with few places, few buckets, and elements so large that each is a batch of its own: elements move
// between caches, lists and bags after a few operations. Thread n is CPU n.
template <class Subject>
class World {
 public:
  World(uint64_t buckets, const Contents& before, uint32_t prefix = 0)
      : clock_(kThreads),
        pool_(clock_, {.key_size = 4, .value_size = 256 << 10, .prefix = prefix}, Subject::kRoom),
        table_(pool_, kThreads, 4, Subject::kRoom, buckets, 1),
        subject_(pool_, table_) {
    unsigned cpu = 0;
    for (const auto& [key, value] : before) put_now(cpu++ % kThreads, key, value);
    before_ = contents(wrong_);
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
    if (subject_.size() != after.size()) wrong += "the count is wrong; ";
    if (!is_linearizable(history, before_, after, Subject::kRoom, Subject::kEvicts))
      wrong += "not linearizable; ";
    // All places that are left can be had, and no more.
    const auto left = static_cast<uint32_t>(Subject::kRoom - after.size());
    for (uint32_t key = 100; key < 100 + left; ++key) {
      if (put_now(0, key, key) != 0) wrong += "a place was lost; ";
    }
    if (put_now(0, 99, 99) != (Subject::kEvicts ? 0 : -E2BIG)) wrong += "one more was not as it should be; ";
    if (walk().size() > Subject::kRoom || subject_.size() != walk().size()) wrong += "there are too many; ";
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
    return subject_.put(key, flags, cpu, [&](Pool::Element* element) {
      const std::array words{value, value};
      std::memcpy(pool_.value(element), &words[0], sizeof words[0]);
      Fibers::step();
      std::memcpy(pool_.value(element) + sizeof words[0], &words[1], sizeof words[1]);
    });
  }
  Pool::Element* take_by(unsigned cpu, uint32_t key) { return subject_.take(key, cpu); }

 private:
  template <class T>
  static T load(const std::byte* from) {
    T out;
    std::memcpy(&out, from, sizeof out);
    return out;
  }

  int put_now(unsigned cpu, uint32_t key, uint64_t value) {
    int result = 0;
    inside(cpu, [&] { result = put_by(cpu, key, value); });
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
        element = subject_.find(operation.key);
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
  Subject subject_;
  Contents before_;
  Fibers fibers_;
  std::vector<std::unique_ptr<Script>> scripts_;
  std::string wrong_;
};

inline Operation any_operation(Random& random, uint64_t value) {
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

// Threads that do anything.
template <class Subject>
std::string run_by_chance(uint64_t seed) {
  Random random(seed);
  Contents before;
  for (uint32_t left = random.below(Subject::kRoom + 1); left != 0; --left)
    before[random.below(3)] = 1000 + left;
  World<Subject> world(1 + random.below(2), before, Subject::kPrefix);
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

// Calls run(seed) for all seeds, or the one that the environment names, until one says what is wrong.
template <class Run>
std::string run_seeds(uint64_t count, const Run& run) {
  const uint64_t only = setting("SKEP_SCHEDULE_SEED", 0);
  const uint64_t first = only == 0 ? 1 : only;
  const uint64_t end = first + (only == 0 ? setting("SKEP_SCHEDULES", count) : 1);
  for (uint64_t seed = first; seed < end; ++seed) {
    if (const std::string wrong = run(seed); !wrong.empty())
      return "SKEP_SCHEDULE_SEED=" + std::to_string(seed) + ": " + wrong;
  }
  return "";
}

// Two threads, of which the one that runs changes at the steps given.
template <class Subject>
std::string run_with_changes(const Contents& before, const Script& first, const Script& second,
                             const std::vector<uint64_t>& changes, uint64_t& steps) {
  World<Subject> world(1, before, Subject::kPrefix);
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

// Every interleaving in which the threads change over at most three times, or one of so many of them.
template <class Subject>
void try_all_changes(const Pair& pair, uint64_t of = 1) {
  uint64_t steps = 0;
  const auto run = [&](const std::vector<uint64_t>& changes) {
    return run_with_changes<Subject>(pair.before, pair.first, pair.second, changes, steps);
  };
  ASSERT_EQ(run({}), "");
  const uint64_t end = steps;
  for (uint64_t one = 0; one < end; ++one) {
    for (uint64_t two = one + 1 + one % of; two < end; two += of) {
      // The third change, where the one who has waited goes on, comes by itself when a thread is through.
      ASSERT_EQ(run({one, two}), "") << "changes at steps " << one << " and " << two;
    }
  }
}

// Thread 0 is stopped after each of its steps in turn; the others do everything there is to do, within a
// number of steps, and then it goes on.
template <class Subject>
void stop_everywhere(const Operation& operation, const Contents& before, uint64_t enough) {
  for (uint64_t stop = 0;; ++stop) {
    World<Subject> world(1, before, Subject::kPrefix);
    world.add({operation});
    world.add({lookup(0), lookup(1), put(0, 11), take(0), put(0, 12), lookup(0)});
    world.add({put(1, 21), take(2), put(2, 22), take(1), put(1, 23)});
    world.fibers().run([&](const std::vector<size_t>& runnable, size_t) {
      return runnable.front() == 0 && world.fibers().steps() < stop ? 0 : Fibers::kNobody;
    });
    if (world.fibers().done(0)) break;
    const uint64_t begin = world.fibers().steps();
    Random random(stop);
    world.fibers().run([&](const std::vector<size_t>& runnable, size_t current) {
      if (runnable == std::vector<size_t>{0} || world.fibers().steps() > begin + enough)
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

}  // namespace skep::maps
