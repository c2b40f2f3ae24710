#include <cerrno>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

class ArraysOfMaps : public ProgramContract {
 protected:
  long create(const Fd& inner, uint32_t entries = 4, uint32_t flags = 0, uint32_t value_size = 4) {
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS;
    attributes.key_size = 4;
    attributes.value_size = value_size;
    attributes.max_entries = entries;
    attributes.map_flags = flags;
    attributes.inner_map_fd = inner.field();
    return create_map(attributes);
  }
  long put(const Fd& outer, uint32_t index, const Fd& inner, uint64_t flags = BPF_ANY) {
    const int descriptor = inner.get();
    return update(outer, &index, &descriptor, flags);
  }
  // inner = lookup(outer, index); r0 = inner ? (value = lookup(inner, key 0)) ? *value : 111 : 222
  static std::vector<bpf_insn> read_through(const Fd& outer, int32_t index) {
    return code({{insn(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, index)},
                 load_map(1, outer),
                 stack_address(2, -4),
                 {call_helper(BPF_FUNC_map_lookup_elem), insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0),
                  mov(0, 222), exit_insn(), insn(BPF_ALU64 | BPF_MOV | BPF_X, 1, 0, 0, 0),
                  insn(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0)},
                 stack_address(2, -4),
                 {call_helper(BPF_FUNC_map_lookup_elem), insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0),
                  mov(0, 111), exit_insn(), insn(BPF_LDX | BPF_MEM | BPF_W, 0, 0, 0, 0), exit_insn()}});
  }
};
SKEP_CONTRACT(ArraysOfMaps);

TEST_P(ArraysOfMaps, Attributes) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  EXPECT_GE(outer.get(), 0);
  EXPECT_EQ(create(inner, 0), -EINVAL);
  EXPECT_EQ(create(inner, 4, 0, 8), -EINVAL) << "a descriptor has 4 bytes";
  EXPECT_EQ(create(inner, 4, BPF_F_RDONLY_PROG), -EINVAL);
  EXPECT_EQ(create(inner, 4, BPF_F_MMAPABLE), -EINVAL);
  EXPECT_EQ(create(Fd(dup(STDIN_FILENO))), -EINVAL) << "no map";
  EXPECT_EQ(create(outer), -EINVAL) << "one within another within another";
  const Fd programs(create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1));
  EXPECT_EQ(create(programs), -kNotSupported);
}

TEST_P(ArraysOfMaps, DescriptorsGoInAndIdsComeOut) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  uint32_t index = 1;
  uint32_t id = 0;
  EXPECT_EQ(lookup(outer, &index, &id), -ENOENT);
  EXPECT_EQ(put(outer, 1, inner), 0);
  EXPECT_EQ(lookup(outer, &index, &id), 0);
  EXPECT_EQ(id, map_id(inner));
  EXPECT_EQ(put(outer, 4, inner), -E2BIG);
  EXPECT_EQ(put(outer, 1, inner, BPF_NOEXIST), -EINVAL);
  EXPECT_EQ(put(outer, 1, inner, BPF_EXIST), -EINVAL);
  const uint32_t closed = 0x7fffffff;
  EXPECT_EQ(update(outer, &index, &closed), -EBADF);
  uint32_t next = 9;
  EXPECT_EQ(next_key(outer, nullptr, &next), 0);
  EXPECT_EQ(next, 0U);
  EXPECT_EQ(erase(outer, &index), 0);
  EXPECT_EQ(erase(outer, &index), -ENOENT);
  index = 4;
  EXPECT_EQ(erase(outer, &index), -E2BIG);
  EXPECT_EQ(lookup_and_delete(outer, &index, &id), -kNotSupported);
}

TEST_P(ArraysOfMaps, InnerMapsAreAlike) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 4, 9))), 0) << "max_entries may differ";
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 8, 4, 8))), -EINVAL);
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 8, 8))), -EINVAL);
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8, BPF_F_NO_PREALLOC))), -EINVAL);
  EXPECT_EQ(put(outer, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 8))), -EINVAL);
  const Fd array(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 8));
  const Fd arrays(create(array));
  EXPECT_EQ(put(arrays, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 8))), 0);
  EXPECT_EQ(put(arrays, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 9))), -EINVAL);
  const Fd loose(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 8, BPF_F_INNER_MAP));
  const Fd any_size(create(loose));
  EXPECT_EQ(put(any_size, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 9, BPF_F_INNER_MAP))), 0);
  EXPECT_EQ(put(any_size, 0, Fd(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 9))), -EINVAL);
}

TEST_P(ArraysOfMaps, Batches) {
  const Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
  std::array<uint32_t, 2> keys{1, 3};
  std::array<int, 2> descriptors{inner.get(), inner.get()};
  bpf_attr attributes{};
  attributes.batch.map_fd = outer.field();
  attributes.batch.keys = pointer(keys.data());
  attributes.batch.values = pointer(descriptors.data());
  attributes.batch.count = 2;
  EXPECT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), 0);
  std::array<uint32_t, 4> read_keys{};
  std::array<uint32_t, 4> ids{};
  uint32_t cursor = 0;
  attributes.batch.keys = pointer(read_keys.data());
  attributes.batch.values = pointer(ids.data());
  attributes.batch.out_batch = pointer(&cursor);
  attributes.batch.count = 4;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -ENOENT) << "what is empty is passed over";
  EXPECT_EQ(attributes.batch.count, 2U);
  EXPECT_EQ(read_keys[0], 1U);
  EXPECT_EQ(read_keys[1], 3U);
  EXPECT_EQ(ids[1], map_id(inner));
  EXPECT_EQ(batch(BPF_MAP_DELETE_BATCH, outer), -kNotSupported);
  EXPECT_EQ(batch(BPF_MAP_LOOKUP_AND_DELETE_BATCH, outer), -kNotSupported);
}

TEST_P(ArraysOfMaps, ProgramsUseTheInnerMap) {
  Fd inner(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  const Fd outer(create(inner));
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
  EXPECT_EQ(run(read_through(outer, 4)), 222) << "beyond the end";
  EXPECT_EQ(run(call_with_value(outer, BPF_FUNC_map_delete_elem, 0, 0)), -EINVAL);
}

}  // namespace
}  // namespace skep::test
