#include <cerrno>
#include <map>

#include "bpf_fixture.hpp"

namespace skep::test {
namespace {

class Batches : public Contract {
 protected:
  static bpf_attr batch(const Fd& map, const void* keys, const void* values, uint32_t count) {
    bpf_attr attributes{};
    attributes.batch.map_fd = map.field();
    attributes.batch.keys = pointer(keys);
    attributes.batch.values = pointer(values);
    attributes.batch.count = count;
    return attributes;
  }
  Fd filled_hash(uint32_t entries) {
    Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 8, entries));
    std::vector<uint32_t> keys;
    std::vector<uint64_t> values;
    for (uint32_t i = 0; i < entries; ++i) {
      keys.push_back(i);
      values.push_back(i * 10);
    }
    bpf_attr attributes = batch(map, keys.data(), values.data(), entries);
    EXPECT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), 0);
    EXPECT_EQ(attributes.batch.count, entries);
    return map;
  }
};
SKEP_CONTRACT(Batches);

TEST_P(Batches, EverythingOnce) {
  for (const int command : {int{BPF_MAP_LOOKUP_BATCH}, int{BPF_MAP_LOOKUP_AND_DELETE_BATCH}}) {
    const Fd map = filled_hash(100);
    std::map<uint32_t, uint64_t> found;
    uint32_t cursor = 0;
    long result = 0;
    for (bool first = true; result == 0; first = false) {
      std::array<uint32_t, 40> keys{};
      std::array<uint64_t, 40> values{};
      bpf_attr attributes = batch(map, keys.data(), values.data(), keys.size());
      attributes.batch.in_batch = first ? 0 : pointer(&cursor);
      attributes.batch.out_batch = pointer(&cursor);
      result = call(command, attributes);
      for (uint32_t i = 0; i < attributes.batch.count; ++i)
        EXPECT_TRUE(found.emplace(keys[i], values[i]).second);
    }
    EXPECT_EQ(result, -ENOENT);
    EXPECT_EQ(found.size(), 100U);
    for (const auto& [key, value] : found) EXPECT_EQ(value, key * 10);
    uint32_t key = 0;
    EXPECT_EQ(next_key(map, nullptr, &key), command == BPF_MAP_LOOKUP_BATCH ? 0 : -ENOENT);
  }
}

TEST_P(Batches, Arrays) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 5));
  const std::array<uint32_t, 5> keys{0, 1, 2, 3, 4};
  const std::array<uint64_t, 5> values{5, 6, 7, 8, 9};
  bpf_attr attributes = batch(map, keys.data(), values.data(), 5);
  EXPECT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), 0);
  std::array<uint32_t, 8> got_keys{};
  std::array<uint64_t, 8> got{};
  uint32_t cursor = 99;
  attributes = batch(map, got_keys.data(), got.data(), 3);
  attributes.batch.out_batch = pointer(&cursor);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), 0);
  EXPECT_EQ(attributes.batch.count, 3U);
  EXPECT_EQ(cursor, 2U);
  EXPECT_EQ(got[2], 7U);
  attributes = batch(map, got_keys.data(), got.data(), 8);
  attributes.batch.in_batch = pointer(&cursor);
  attributes.batch.out_batch = pointer(&cursor);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -ENOENT);
  EXPECT_EQ(attributes.batch.count, 2U);
  EXPECT_EQ(got_keys[0], 3U);
  EXPECT_EQ(got[1], 9U);
  EXPECT_EQ(cursor, 4U);
  // More than there is, from the beginning.
  attributes = batch(map, got_keys.data(), got.data(), 8);
  attributes.batch.out_batch = pointer(&cursor);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -ENOENT);
  EXPECT_EQ(attributes.batch.count, 5U);
  attributes = batch(map, keys.data(), values.data(), 5);
  EXPECT_EQ(call(BPF_MAP_DELETE_BATCH, attributes), -kNotSupported);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_BATCH, attributes), -kNotSupported);
}

TEST_P(Batches, DeletesUntilOneIsMissing) {
  const Fd map = filled_hash(8);
  const std::array<uint32_t, 4> keys{1, 2, 77, 3};
  bpf_attr attributes = batch(map, keys.data(), nullptr, 4);
  EXPECT_EQ(call(BPF_MAP_DELETE_BATCH, attributes), -ENOENT);
  EXPECT_EQ(attributes.batch.count, 2U);
  uint64_t value = 0;
  EXPECT_EQ(lookup(map, &keys[0], &value), -ENOENT);
  EXPECT_EQ(lookup(map, &keys[3], &value), 0);
}

TEST_P(Batches, Refusals) {
  const Fd map = filled_hash(8);
  std::array<uint32_t, 8> keys{};
  std::array<uint64_t, 8> values{};
  uint32_t cursor = 0;
  bpf_attr good = batch(map, keys.data(), values.data(), 8);
  good.batch.out_batch = pointer(&cursor);
  for (const int command :
       {int{BPF_MAP_LOOKUP_BATCH}, int{BPF_MAP_UPDATE_BATCH}, int{BPF_MAP_DELETE_BATCH}}) {
    bpf_attr attributes = good;
    attributes.batch.elem_flags = BPF_F_LOCK;
    EXPECT_EQ(call(command, attributes), -EINVAL);
    attributes.batch.elem_flags = BPF_NOEXIST;
    EXPECT_EQ(call(command, attributes), -EINVAL);
    attributes = good;
    attributes.batch.count = 0;
    EXPECT_EQ(call(command, attributes), 0);
    attributes = good;
    attributes.batch.keys = kNowhere;
    EXPECT_EQ(call(command, attributes), -EFAULT);
    EXPECT_EQ(attributes.batch.count, 0U);
    attributes = good;
    attributes.batch.map_fd = 0x7fffffff;
    EXPECT_EQ(call(command, attributes), -EBADF);
  }
  bpf_attr attributes = good;
  attributes.batch.flags = 1;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -EINVAL);
  attributes = good;
  attributes.batch.out_batch = kNowhere;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -EFAULT);
  attributes = good;
  attributes.batch.in_batch = kNowhere;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -EFAULT);
  cursor = 1U << 20;
  attributes = good;
  attributes.batch.in_batch = pointer(&cursor);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -ENOENT);
  EXPECT_EQ(attributes.batch.count, 0U);
  const Fd programs(create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4));
  attributes = good;
  attributes.batch.map_fd = programs.field();
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -kNotSupported);
  EXPECT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), -kNotSupported);
  ASSERT_EQ(freeze(map), 0);
  attributes = good;
  EXPECT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), -EPERM);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_BATCH, attributes), -EPERM);
}

}  // namespace
}  // namespace skep::test
