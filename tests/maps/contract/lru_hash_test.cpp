// LRU_HASH and LRU_PERCPU_HASH, each with the lists that all CPUs share and with lists of each CPU. Which
// keys go follows from the kernel's numbers: with shared lists a CPU that has no free place takes as many as
// half of an equal share of the entries, 128 at the most; with lists of its own it lets four elements go.

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <numeric>
#include <set>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

struct Shape {
  uint32_t type;
  uint32_t flags;
};
constexpr Shape kShapes[] = {{BPF_MAP_TYPE_LRU_HASH, 0},
                             {BPF_MAP_TYPE_LRU_PERCPU_HASH, 0},
                             {BPF_MAP_TYPE_LRU_HASH, BPF_F_NO_COMMON_LRU},
                             {BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_F_NO_COMMON_LRU}};

class LruHashes : public ProgramContract {
 protected:
  using Keys = std::set<uint64_t>;

  void SetUp() override {
    ProgramContract::SetUp();
    // Commands and programs are those of one CPU.
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
  void TearDown() override { sched_setaffinity(0, sizeof before_, &before_); }

  // With so many entries for one CPU, where CPUs have their own.
  Fd create(const Shape& shape, uint32_t entries) {
    const bool lists = shape.flags != 0;
    Fd map(create_map(shape.type, 8, 8, lists ? entries * bpf_->cpus() : entries, shape.flags));
    EXPECT_GE(map.get(), 0);
    return map;
  }
  long put(const Fd& map, uint64_t key, uint64_t flags = BPF_ANY) {
    const std::vector<uint64_t> values(bpf_->cpus(), key + 1000);
    return update(map, &key, values.data(), flags);
  }
  void put_all(const Fd& map, uint64_t first, uint64_t count) {
    for (uint64_t key = first; key < first + count; ++key) ASSERT_EQ(put(map, key), 0);
  }
  long read(const Fd& map, uint64_t key) {
    std::vector<uint64_t> values(bpf_->cpus());
    const long result = lookup(map, &key, values.data());
    if (result == 0) {
      EXPECT_EQ(values[0], key + 1000);
    }
    return result;
  }
  // Looked up by a program; whether it is there.
  bool used(const Fd& map, uint64_t key) {
    return run(code({store(-8, static_cast<int32_t>(key)),
                     load_map(1, map),
                     stack_address(2, -8),
                     {call_helper(BPF_FUNC_map_lookup_elem), insn(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0),
                      mov(0, 1), exit_insn()}})) == 1;
  }
  Keys keys(const Fd& map) {
    Keys all;
    uint64_t key = 0;
    for (long result = next_key(map, nullptr, &key); result == 0; result = next_key(map, &key, &key))
      all.insert(key);
    return all;
  }
  static Keys range(uint64_t first, uint64_t count) {
    Keys all;
    for (uint64_t key = first; key < first + count; ++key) all.insert(key);
    return all;
  }

 private:
  cpu_set_t before_{};
};
SKEP_CONTRACT(LruHashes);

TEST_P(LruHashes, Flags) {
  for (const uint32_t type : {BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH}) {
    const auto make = [&](uint32_t flags) { return std::min(Fd(create_map(type, 4, 8, 8, flags)).get(), 0); };
    EXPECT_EQ(make(0), 0);
    EXPECT_EQ(make(BPF_F_NO_PREALLOC), -kNotSupported);
    EXPECT_EQ(make(BPF_F_NO_COMMON_LRU), 0);
    EXPECT_EQ(make(BPF_F_ZERO_SEED), 0);
    EXPECT_EQ(make(BPF_F_RDONLY), 0);
    EXPECT_EQ(make(BPF_F_WRONLY_PROG), 0);
    EXPECT_EQ(make(BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG), -EINVAL);
    EXPECT_EQ(make(BPF_F_MMAPABLE), -EINVAL);
    EXPECT_EQ(make(BPF_F_INNER_MAP), -EINVAL);
    EXPECT_EQ(make(BPF_F_NUMA_NODE), type == BPF_MAP_TYPE_LRU_HASH ? 0 : -EINVAL);
    EXPECT_EQ(make(BPF_F_NUMA_NODE | BPF_F_NO_COMMON_LRU), -EINVAL);
  }
  for (const uint32_t type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_ARRAY})
    EXPECT_EQ(create_map(type, 4, 8, 8, BPF_F_NO_COMMON_LRU), -EINVAL);
}

TEST_P(LruHashes, ListsOfCpusAreEquallyLong) {
  const uint32_t cpus = bpf_->cpus();
  for (const Shape& shape : kShapes) {
    for (const uint32_t entries : {1U, cpus, cpus + 1}) {
      const Fd map(create_map(shape.type, 8, 8, entries, shape.flags));
      bpf_map_info read{};
      ASSERT_EQ(info(map, read), 0);
      const uint32_t whole = entries <= cpus ? cpus : 2 * cpus;
      EXPECT_EQ(read.max_entries, shape.flags == 0 ? entries : whole);
      EXPECT_EQ(read.map_flags, shape.flags);
    }
  }
}

TEST_P(LruHashes, Commands) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 8);
    EXPECT_EQ(read(map, 1), -ENOENT);
    EXPECT_EQ(put(map, 1, BPF_EXIST), -ENOENT);
    EXPECT_EQ(put(map, 1, BPF_NOEXIST), 0);
    EXPECT_EQ(put(map, 1, BPF_NOEXIST), -EEXIST);
    EXPECT_EQ(put(map, 1, BPF_EXIST), 0);
    EXPECT_EQ(put(map, 1, 3), -EINVAL);
    EXPECT_EQ(put(map, 1, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(put(map, 1, 8), -EINVAL);
    EXPECT_EQ(read(map, 1), 0);
    const uint64_t key = 1;
    std::vector<uint64_t> values(bpf_->cpus());
    EXPECT_EQ(lookup(map, &key, values.data(), BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(lookup(map, &key, values.data(), 1), -EINVAL);
    EXPECT_EQ(lookup_and_delete(map, &key, values.data(), BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(lookup_and_delete(map, &key, values.data()), 0);
    EXPECT_EQ(values[0], 1001U);
    EXPECT_EQ(lookup_and_delete(map, &key, values.data()), -ENOENT);
    EXPECT_EQ(erase(map, &key), -ENOENT);
    EXPECT_EQ(put(map, 2), 0);
    const uint64_t second = 2;
    EXPECT_EQ(erase(map, &second), 0);
    EXPECT_EQ(keys(map), Keys{});
    EXPECT_EQ(freeze(map), 0);
    EXPECT_EQ(put(map, 1), -EPERM);
  }
}

TEST_P(LruHashes, Batches) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 64);
    const uint32_t cpus = shape.type == BPF_MAP_TYPE_LRU_PERCPU_HASH ? bpf_->cpus() : 1;
    std::vector<uint64_t> keys(8);
    std::iota(keys.begin(), keys.end(), 1U);
    std::vector<uint64_t> values(size_t{64} * cpus, 5);
    std::array<uint64_t, 2> cursor{};
    bpf_attr attributes{};
    attributes.batch.map_fd = map.field();
    attributes.batch.keys = pointer(keys.data());
    attributes.batch.values = pointer(values.data());
    attributes.batch.count = 8;
    EXPECT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), 0);
    attributes.batch.count = 2;
    EXPECT_EQ(call(BPF_MAP_DELETE_BATCH, attributes), 0);
    EXPECT_EQ(this->keys(map), range(3, 6));
    keys.assign(64, 0);
    attributes.batch.keys = pointer(keys.data());
    attributes.batch.out_batch = pointer(cursor.data());
    attributes.batch.count = 64;
    attributes.batch.elem_flags = BPF_F_LOCK;
    EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -EINVAL);
    attributes.batch.elem_flags = 0;
    EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -ENOENT);
    EXPECT_EQ(attributes.batch.count, 6U);
    attributes.batch.count = 64;
    EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_BATCH, attributes), -ENOENT);
    EXPECT_EQ(attributes.batch.count, 6U);
    EXPECT_EQ(Keys(keys.begin(), keys.begin() + 6), range(3, 6));
    EXPECT_EQ(values[0], 5U);
    EXPECT_EQ(this->keys(map), Keys{});
  }
}

TEST_P(LruHashes, Helpers) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 8);
    const auto calls = [&](int32_t helper) {
      const bool percpu = helper == BPF_FUNC_map_lookup_percpu_elem;
      const Fd program(
          load(BPF_PROG_TYPE_SCHED_CLS, code({store(-8, 0),
                                              load_map(1, map),
                                              stack_address(2, -8),
                                              stack_address(3, -8),
                                              {mov(4, 0)},
                                              percpu ? std::vector{mov(3, 0)} : std::vector<bpf_insn>{},
                                              {call_helper(helper), mov(0, 0), exit_insn()}})));
      return std::min(program.get(), 0);
    };
    const int percpu = shape.type == BPF_MAP_TYPE_LRU_PERCPU_HASH ? 0 : -EINVAL;
    EXPECT_EQ(calls(BPF_FUNC_map_lookup_elem), 0);
    EXPECT_EQ(calls(BPF_FUNC_map_update_elem), 0);
    EXPECT_EQ(calls(BPF_FUNC_map_delete_elem), 0);
    EXPECT_EQ(calls(BPF_FUNC_map_lookup_percpu_elem), percpu);
    EXPECT_EQ(calls(BPF_FUNC_map_push_elem), -EINVAL);
    EXPECT_EQ(calls(BPF_FUNC_map_peek_elem), -EINVAL);
  }
}

// Key and value are the same 8 bytes.
TEST_P(LruHashes, ProgramsPutInAndDelete) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 2);
    const auto call = [&](int32_t key, int32_t helper) {
      return run(code({store(-8, key),
                       load_map(1, map),
                       stack_address(2, -8),
                       stack_address(3, -8),
                       {mov(4, BPF_ANY), call_helper(helper), exit_insn()}}));
    };
    for (int32_t key = 1; key <= 3; ++key) EXPECT_EQ(call(key, BPF_FUNC_map_update_elem), 0);
    const bool lists = shape.flags != 0;
    EXPECT_EQ(keys(map), lists ? Keys{3} : (Keys{2, 3}));
    EXPECT_EQ(call(1, BPF_FUNC_map_delete_elem), -ENOENT);
    EXPECT_EQ(call(3, BPF_FUNC_map_delete_elem), 0);
    EXPECT_EQ(keys(map), lists ? Keys{} : Keys{2});
  }
}

TEST_P(LruHashes, TheOldestGoes) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 2);
    put_all(map, 1, 3);
    EXPECT_EQ(keys(map), shape.flags != 0 ? Keys{3} : (Keys{2, 3}));
  }
}

TEST_P(LruHashes, WhatAProgramLooksUpStays) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 2);
    put_all(map, 1, 2);
    EXPECT_TRUE(used(map, 1));
    EXPECT_EQ(read(map, 2), 0);
    put_all(map, 3, 1);
    EXPECT_EQ(keys(map), (Keys{1, 3})) << "not what user space has looked up";
  }
}

// An update that is refused has taken a place before.
TEST_P(LruHashes, RefusedUpdatesLetElementsGo) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 2);
    put_all(map, 1, 2);
    // A list of a CPU has let both go.
    EXPECT_EQ(put(map, 2, BPF_NOEXIST), shape.flags != 0 ? 0 : -EEXIST);
    EXPECT_EQ(keys(map), Keys{2});
  }
}

// So has one of an element that is the oldest itself; values of CPUs take none with BPF_EXIST.
TEST_P(LruHashes, AnUpdateMayLetItsOwnElementGo) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 2);
    const bool in_place = shape.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
    put_all(map, 1, 2);
    EXPECT_EQ(put(map, 1, BPF_EXIST), in_place ? 0 : -ENOENT);
    const Keys left = shape.flags != 0 ? Keys{} : Keys{2};
    EXPECT_EQ(keys(map), in_place ? (Keys{1, 2}) : left);
  }
}

TEST_P(LruHashes, OneEntry) {
  for (const Shape& shape : kShapes) {
    const Fd map = create(shape, 1);
    for (uint64_t key = 1; key < 20; ++key) {
      ASSERT_EQ(put(map, key), 0);
      EXPECT_TRUE(used(map, key));
      EXPECT_EQ(keys(map), Keys{key});
    }
  }
}

// Shared lists: places come in batches of half a CPU's share.
TEST_P(LruHashes, ElementsGoInBatches) {
  for (const uint32_t type : {BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH}) {
    for (const uint32_t batch : {8U, 128U}) {
      const uint32_t entries = batch * 2 * bpf_->cpus();
      const Fd map = create({type, 0}, entries);
      put_all(map, 1, entries);
      EXPECT_EQ(keys(map), range(1, entries));
      put_all(map, entries + 1, 1);
      EXPECT_EQ(keys(map), range(1 + batch, entries - batch + 1));
      put_all(map, entries + 2, batch - 1);
      EXPECT_EQ(keys(map), range(1 + batch, entries));
      put_all(map, entries + batch + 1, 1);
      EXPECT_EQ(keys(map), range(1 + 2 * batch, entries - batch + 1));
    }
  }
}

// The first batch was used, and stays when the second, which was not, has to go.
TEST_P(LruHashes, WhatWasUsedOutlivesABatch) {
  for (const uint32_t type : {BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH}) {
    const uint32_t batch = 32;
    const uint32_t entries = batch * 2 * bpf_->cpus();
    const Fd map = create({type, 0}, entries);
    put_all(map, 1, entries);
    for (uint64_t key = 1; key <= batch; ++key) ASSERT_TRUE(used(map, key));
    put_all(map, entries + 1, batch);
    Keys expected = range(1 + 2 * batch, entries - batch);
    expected.merge(range(1, batch));
    EXPECT_EQ(keys(map), expected);
  }
}

TEST_P(LruHashes, PlacesOfDeletedElementsAreUsedFirst) {
  for (const Shape& shape : kShapes) {
    const uint32_t entries = 64 * bpf_->cpus();
    const Fd map = create(shape, entries);
    put_all(map, 1, entries);
    for (uint64_t key = 1; key <= entries / 2; ++key) ASSERT_EQ(erase(map, &key), 0);
    put_all(map, 1000, entries / 2);
    Keys expected = range(entries / 2 + 1, entries / 2);
    expected.merge(range(1000, entries / 2));
    EXPECT_EQ(keys(map), expected);
  }
}

// Lists of a CPU: four at a time, and what is looked up again and again stays.
TEST_P(LruHashes, ListsOfCpus) {
  for (const uint32_t type : {BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH}) {
    const Fd map = create({type, BPF_F_NO_COMMON_LRU}, 16);
    put_all(map, 1, 16);
    EXPECT_EQ(keys(map), range(1, 16));
    put_all(map, 17, 1);
    EXPECT_EQ(keys(map), range(5, 13));
    const Fd hot = create({type, BPF_F_NO_COMMON_LRU}, 8);
    put_all(hot, 1, 4);
    for (uint64_t key = 5; key < 100; ++key) {
      for (uint64_t stays = 1; stays <= 4; ++stays) ASSERT_TRUE(used(hot, stays)) << key;
      ASSERT_EQ(put(hot, key), 0);
    }
  }
}

TEST_P(LruHashes, ValuesOfCpus) {
  const Fd map = create({BPF_MAP_TYPE_LRU_PERCPU_HASH, 0}, 4);
  std::vector<uint64_t> values(bpf_->cpus());
  std::iota(values.begin(), values.end(), 1U);
  const uint64_t key = 9;
  ASSERT_EQ(update(map, &key, values.data()), 0);
  std::vector<uint64_t> read(bpf_->cpus());
  ASSERT_EQ(lookup(map, &key, read.data()), 0);
  EXPECT_EQ(read, values);
}

}  // namespace
}  // namespace skep::test
