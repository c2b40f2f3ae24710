#include <algorithm>
#include <cerrno>
#include <set>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

class HashesOfMaps : public ProgramContract {
 protected:
  struct Wanted {
    uint32_t key_size = 4;
    uint32_t value_size = 4;
    uint32_t entries = 4;
    uint32_t flags = 0;
  };
  long create(int inner, Wanted wanted) {
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_HASH_OF_MAPS;
    attributes.key_size = wanted.key_size;
    attributes.value_size = wanted.value_size;
    attributes.max_entries = wanted.entries;
    attributes.map_flags = wanted.flags;
    attributes.inner_map_fd = static_cast<uint32_t>(inner);
    return create_map(attributes);
  }
  long create(const Fd& inner) { return create(inner.get(), {}); }
  long create(const Fd& inner, Wanted wanted) { return create(inner.get(), wanted); }
  long put(const Fd& outer, uint64_t key, const Fd& inner, uint64_t flags = BPF_ANY) {
    const int descriptor = inner.get();
    return update(outer, &key, &descriptor, flags);
  }
  long id_at(const Fd& outer, uint64_t key) {
    uint32_t id = 0;
    const long result = lookup(outer, &key, &id);
    return result == 0 ? id : result;
  }
  // inner = lookup(outer, key); r0 = inner ? (value = lookup(inner, key 0)) ? *value : 111 : 222
  static std::vector<bpf_insn> read_through(const Fd& outer, int32_t key) {
    return code({store(-8, key),
                 load_map(1, outer),
                 stack_address(2, -8),
                 {call_helper(BPF_FUNC_map_lookup_elem), insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0),
                  mov(0, 222), exit_insn(), insn(BPF_ALU64 | BPF_MOV | BPF_X, 1, 0, 0, 0),
                  insn(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0)},
                 stack_address(2, -4),
                 {call_helper(BPF_FUNC_map_lookup_elem), insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0),
                  mov(0, 111), exit_insn(), insn(BPF_LDX | BPF_MEM | BPF_W, 0, 0, 0, 0), exit_insn()}});
  }
};
SKEP_CONTRACT(HashesOfMaps);

TEST_P(HashesOfMaps, Attributes) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  ASSERT_GE(outer.get(), 0);
  for (const uint32_t value_size : {0U, 1U, 3U, 5U, 8U})
    EXPECT_EQ(create(inner, {.value_size = value_size}), -EINVAL) << "a descriptor has 4 bytes";
  EXPECT_EQ(create(inner, {.key_size = 0}), -EINVAL);
  EXPECT_EQ(create(inner, {.entries = 0}), -EINVAL);
  EXPECT_EQ(create(inner, {.key_size = (4 << 20) - 48 - 4}), -E2BIG);
  EXPECT_EQ(create(inner, {.key_size = UINT32_MAX}), -E2BIG);
  EXPECT_EQ(create(inner, {.entries = UINT32_MAX}), -E2BIG);
  for (const uint32_t flags : {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_RDONLY}, uint32_t{BPF_F_WRONLY},
                               uint32_t{BPF_F_NUMA_NODE}, uint32_t{BPF_F_ZERO_SEED}})
    EXPECT_GE(Fd(create(inner, {.flags = flags})).get(), 0) << flags;
  for (const uint32_t flags :
       {uint32_t{BPF_F_NO_COMMON_LRU}, uint32_t{BPF_F_MMAPABLE}, uint32_t{BPF_F_INNER_MAP},
        uint32_t{BPF_F_PRESERVE_ELEMS}, 1U << 31, uint32_t{BPF_F_RDONLY | BPF_F_WRONLY}})
    EXPECT_EQ(create(inner, {.flags = flags}), -EINVAL) << flags;
}

TEST_P(HashesOfMaps, InnerMapsThatThereCannotBe) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  EXPECT_EQ(create(0x7fffffff, {}), -EBADF);
  EXPECT_EQ(create(-1, {}), -EBADF);
  EXPECT_EQ(create(Fd(dup(STDIN_FILENO))), -EINVAL) << "no map";
  const Fd program(load(BPF_PROG_TYPE_SCHED_CLS, return_value(0)));
  EXPECT_EQ(create(program), -EINVAL) << "a program";
  EXPECT_EQ(create(outer), -EINVAL) << "one within another within another";
  const Fd programs(create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1));
  EXPECT_EQ(create(programs), -kNotSupported);
  // The attributes are looked at first.
  EXPECT_EQ(create(0x7fffffff, {.value_size = 8}), -EINVAL);
  EXPECT_EQ(create(programs, {.entries = 0}), -EINVAL);
  EXPECT_EQ(create(0x7fffffff, {.key_size = 4 << 20}), -E2BIG);
}

TEST_P(HashesOfMaps, DescriptorsGoInAndIdsComeOut) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd other(create_map(BPF_MAP_TYPE_HASH, 4, 4, 9));
  const Fd outer(create(inner, {.key_size = 8, .entries = 2}));
  EXPECT_EQ(id_at(outer, 7), -ENOENT);
  EXPECT_EQ(put(outer, 7, inner, BPF_EXIST), -ENOENT);
  EXPECT_EQ(put(outer, 7, inner, BPF_NOEXIST), 0);
  EXPECT_EQ(id_at(outer, 7), map_id(inner));
  EXPECT_EQ(put(outer, 7, other, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(id_at(outer, 7), map_id(inner));
  EXPECT_EQ(put(outer, 7, other, BPF_EXIST), 0);
  EXPECT_EQ(id_at(outer, 7), map_id(other));
  EXPECT_EQ(put(outer, 8, inner), 0);
  EXPECT_EQ(put(outer, 9, inner), -E2BIG);
  EXPECT_EQ(put(outer, 8, other), 0) << "a full map replaces";
  EXPECT_EQ(put(outer, 8, inner, 3), -EINVAL);
  EXPECT_EQ(put(outer, 8, inner, BPF_F_LOCK), -EINVAL);
  uint64_t key = 8;
  uint32_t id = 0;
  EXPECT_EQ(lookup(outer, &key, &id, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(lookup(outer, &key, &id, BPF_EXIST), -EINVAL);
  EXPECT_EQ(erase(outer, &key), 0);
  EXPECT_EQ(erase(outer, &key), -ENOENT);
  EXPECT_EQ(id_at(outer, 8), -ENOENT);
  EXPECT_EQ(lookup_and_delete(outer, &key, &id), -kNotSupported);
  EXPECT_EQ(lookup_and_delete(outer, &key, &id, BPF_EXIST), -EINVAL);
  uint64_t next = 0;
  EXPECT_EQ(next_key(outer, nullptr, &next), 0);
  EXPECT_EQ(next, 7U);
  EXPECT_EQ(next_key(outer, &next, &next), -ENOENT);
  EXPECT_EQ(next_key(outer, &key, &next), 0) << "a key that is gone leads to the first";
  EXPECT_EQ(next, 7U);
}

TEST_P(HashesOfMaps, WrongDescriptors) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  const uint32_t key = 1;
  for (const int closed : {0x7fffffff, -1, -100}) {
    EXPECT_EQ(update(outer, &key, &closed), -EBADF) << closed;
    EXPECT_EQ(update(outer, &key, &closed, 99), -EBADF) << "the descriptor comes before the flags";
  }
  EXPECT_EQ(put(outer, 1, Fd(dup(STDIN_FILENO))), -EINVAL);
  EXPECT_EQ(put(outer, 1, Fd(load(BPF_PROG_TYPE_SCHED_CLS, return_value(0)))), -EINVAL);
  EXPECT_EQ(put(outer, 1, outer), -EINVAL) << "it cannot hold itself";
  EXPECT_EQ(put(outer, 1, Fd(create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 8))), -EINVAL);
  EXPECT_EQ(id_at(outer, 1), -ENOENT);
  bpf_attr attributes{};
  attributes.map_fd = outer.field();
  attributes.key = kNowhere;
  attributes.value = pointer(&key);
  EXPECT_EQ(call(BPF_MAP_UPDATE_ELEM, attributes), -EFAULT);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_ELEM, attributes), -EFAULT);
  EXPECT_EQ(erase(outer, reinterpret_cast<const void*>(kNowhere)), -EFAULT);
  attributes.key = pointer(&key);
  attributes.value = kNowhere;
  EXPECT_EQ(call(BPF_MAP_UPDATE_ELEM, attributes), -EFAULT);
  ASSERT_EQ(put(outer, 1, inner), 0);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_ELEM, attributes), -EFAULT);
}

TEST_P(HashesOfMaps, InnerMapsAreAlike) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 4, 9))), 0) << "max_entries may differ";
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8, BPF_F_RDONLY))), 0)
      << "what the descriptor may do is nothing of the map's";
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 8, 4, 8))), -EINVAL);
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 8, 8))), -EINVAL);
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8, BPF_F_NO_PREALLOC))), -EINVAL);
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8, BPF_F_RDONLY_PROG))), -EINVAL);
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 8))), -EINVAL);
  const Fd arrays(create(Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 8))));
  EXPECT_EQ(put(arrays, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 8))), 0);
  EXPECT_EQ(put(arrays, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 9))), -EINVAL);
  const Fd sockets(create(Fd(create_map(BPF_MAP_TYPE_XSKMAP, 4, 4, 8))));
  EXPECT_EQ(put(sockets, 0, Fd(create_map(BPF_MAP_TYPE_XSKMAP, 4, 4, 8))), 0);
  EXPECT_EQ(put(sockets, 0, Fd(create_map(BPF_MAP_TYPE_XSKMAP, 4, 4, 9))), -EINVAL);
}

TEST_P(HashesOfMaps, Batches) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd other(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner, {.entries = 8}));
  std::array<uint32_t, 3> keys{10, 20, 30};
  std::array<int, 3> descriptors{inner.get(), other.get(), -1};
  bpf_attr attributes{};
  const auto update_three = [&] {
    attributes = {};
    attributes.batch.map_fd = outer.field();
    attributes.batch.keys = pointer(keys.data());
    attributes.batch.values = pointer(descriptors.data());
    attributes.batch.count = 3;
    return call(BPF_MAP_UPDATE_BATCH, attributes);
  };
  EXPECT_EQ(update_three(), -EBADF);
  EXPECT_EQ(attributes.batch.count, 2U);
  descriptors[2] = inner.get();
  EXPECT_EQ(update_three(), 0);

  std::array<uint32_t, 8> read_keys{};
  std::array<uint32_t, 8> ids{};
  uint32_t cursor = 0;
  const auto read_all = [&](int command) {
    attributes = {};
    attributes.batch.map_fd = outer.field();
    attributes.batch.keys = pointer(read_keys.data());
    attributes.batch.values = pointer(ids.data());
    attributes.batch.out_batch = pointer(&cursor);
    attributes.batch.count = 8;
    return call(command, attributes);
  };
  const auto expect_three = [&] {
    ASSERT_EQ(attributes.batch.count, 3U);
    std::set<std::pair<uint32_t, uint32_t>> found;
    for (size_t n = 0; n < 3; ++n) found.emplace(read_keys[n], ids[n]);
    EXPECT_EQ(found, (std::set<std::pair<uint32_t, uint32_t>>{
                         {10, map_id(inner)}, {20, map_id(other)}, {30, map_id(inner)}}));
  };
  EXPECT_EQ(read_all(BPF_MAP_LOOKUP_BATCH), -ENOENT);
  expect_three();
  EXPECT_EQ(read_all(BPF_MAP_LOOKUP_AND_DELETE_BATCH), -ENOENT);
  expect_three();
  EXPECT_EQ(read_all(BPF_MAP_LOOKUP_BATCH), -ENOENT);
  EXPECT_EQ(attributes.batch.count, 0U);

  ASSERT_EQ(update_three(), 0);
  attributes = {};
  attributes.batch.map_fd = outer.field();
  attributes.batch.keys = pointer(keys.data());
  attributes.batch.count = 3;
  EXPECT_EQ(call(BPF_MAP_DELETE_BATCH, attributes), 0);
  EXPECT_EQ(id_at(outer, 20), -ENOENT);
}

TEST_P(HashesOfMaps, FrozenOnesAreNotWritten) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  ASSERT_EQ(put(outer, 1, inner), 0);
  ASSERT_EQ(freeze(outer), 0);
  const uint32_t key = 1;
  EXPECT_EQ(put(outer, 2, inner), -EPERM);
  EXPECT_EQ(erase(outer, &key), -EPERM);
  EXPECT_EQ(id_at(outer, 1), map_id(inner));
}

TEST_P(HashesOfMaps, ProgramsUseTheInnerMap) {
  // One key size of each kind that lookups are made for, and another.
  for (const uint32_t key_size : {1U, 4U, 8U}) {
    Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
    const Fd outer(create(inner, {.key_size = key_size}));
    const auto program = read_through(outer, 2);
    EXPECT_EQ(run(program), 222);
    ASSERT_EQ(put(outer, 2, inner), 0);
    EXPECT_EQ(run(program), 111);
    const uint32_t key = 0;
    const uint32_t value = 42;
    ASSERT_EQ(update(inner, &key, &value), 0);
    EXPECT_EQ(run(program), 42);
    // It lives in the other when its descriptor is closed.
    inner.reset();
    EXPECT_EQ(run(program), 42);
    EXPECT_EQ(run(read_through(outer, 3)), 222);
    const uint64_t gone = 2;
    ASSERT_EQ(erase(outer, &gone), 0);
    EXPECT_EQ(run(program), 222);
  }
}

TEST_P(HashesOfMaps, HelpersThatTakeIt) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  for (const int32_t helper :
       {BPF_FUNC_map_delete_elem, BPF_FUNC_map_push_elem, BPF_FUNC_map_pop_elem, BPF_FUNC_map_peek_elem})
    EXPECT_EQ(run(call_with_value(outer, helper, 0, 0)), -EINVAL) << helper;
}

}  // namespace
}  // namespace skep::test
