#include <cerrno>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

class BloomFilters : public ProgramContract {
 protected:
  long create(uint32_t value, uint32_t entries, uint32_t flags = 0, uint64_t extra = 0) {
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_BLOOM_FILTER;
    attributes.value_size = value;
    attributes.max_entries = entries;
    attributes.map_flags = flags;
    attributes.map_extra = extra;
    return create_map(attributes);
  }
};
SKEP_CONTRACT(BloomFilters);

TEST_P(BloomFilters, Attributes) {
  EXPECT_GE(Fd(create(4, 1)).get(), 0);
  EXPECT_GE(Fd(create(4, 1, BPF_F_ZERO_SEED, 15)).get(), 0);
  EXPECT_EQ(create(4, 1, 0, 16), -EINVAL);
  EXPECT_EQ(create(0, 1), -EINVAL);
  EXPECT_EQ(create(4, 0), -EINVAL);
  EXPECT_EQ(create(4, 1, BPF_F_NO_PREALLOC), -EINVAL);
  EXPECT_EQ(create((4 << 20) + 1, 1), -E2BIG);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_BLOOM_FILTER, 4, 4, 1), -EINVAL);
  const Fd map(create(4, 100, 0, 3));
  bpf_map_info out{};
  EXPECT_EQ(info(map, out), 0);
  EXPECT_EQ(out.map_extra, 3U);
}

TEST_P(BloomFilters, WhatWasPushedIsIn) {
  for (const uint32_t size : {1U, 4U, 13U, 16U}) {
    const Fd map(create(size, 1000));
    std::array<uint8_t, 16> value{};
    EXPECT_EQ(lookup(map, nullptr, value.data()), -ENOENT);
    for (uint8_t n = 0; n < 100; ++n) {
      value[0] = n;
      EXPECT_EQ(update(map, nullptr, value.data()), 0);
    }
    for (uint8_t n = 0; n < 100; ++n) {
      value[0] = n;
      EXPECT_EQ(lookup(map, nullptr, value.data()), 0);
    }
  }
}

// With room for 1000, 5 hashes and 8192 bits about one in 50 is taken for another; one in 10 would be a poor
// hash.
TEST_P(BloomFilters, MostOthersAreNot) {
  const Fd map(create(8, 1000));
  for (uint64_t n = 0; n < 1000; ++n) ASSERT_EQ(update(map, nullptr, &n), 0);
  unsigned found = 0;
  for (uint64_t n = 1000; n < 11000; ++n) found += lookup(map, nullptr, &n) == 0 ? 1 : 0;
  EXPECT_LT(found, 1000U);
}

TEST_P(BloomFilters, RefusedCommands) {
  const Fd map(create(4, 100));
  uint32_t value = 1;
  uint32_t key = 0;
  EXPECT_EQ(update(map, nullptr, &value, BPF_NOEXIST), -EINVAL);
  EXPECT_EQ(update(map, nullptr, &value, BPF_EXIST), -EINVAL);
  EXPECT_EQ(update(map, &key, &value), -EINVAL);
  EXPECT_EQ(lookup(map, &key, &value), -EINVAL);
  EXPECT_EQ(lookup(map, nullptr, nullptr), -EFAULT);
  EXPECT_EQ(lookup(map, nullptr, &value, 1), -EINVAL);
  EXPECT_EQ(erase(map, nullptr), -EOPNOTSUPP);
  EXPECT_EQ(next_key(map, nullptr, &key), -EOPNOTSUPP);
  EXPECT_EQ(lookup_and_delete(map, nullptr, &value), -kNotSupported);
  for (const int command :
       {BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH})
    EXPECT_EQ(batch(command, map), -kNotSupported) << command;
}

TEST_P(BloomFilters, Programs) {
  const Fd map(create(8, 100));
  const auto use = [&](int32_t helper, int32_t value, int32_t flags) {
    return run(call_with_value(map, helper, value, flags));
  };
  EXPECT_EQ(use(BPF_FUNC_map_peek_elem, 5, 0), -ENOENT);
  EXPECT_EQ(use(BPF_FUNC_map_push_elem, 5, BPF_EXIST), -EINVAL);
  EXPECT_EQ(use(BPF_FUNC_map_push_elem, 5, BPF_ANY), 0);
  EXPECT_EQ(use(BPF_FUNC_map_peek_elem, 5, 0), 0);
  EXPECT_EQ(run(call_with_value(map, BPF_FUNC_map_peek_elem, 5, 0, true)), 5) << "the value stays as it is";
  EXPECT_EQ(use(BPF_FUNC_map_pop_elem, 5, 0), -EINVAL);
  const uint64_t value = 5;
  uint64_t asked = value;
  EXPECT_EQ(lookup(map, nullptr, &asked), 0);
}

}  // namespace
}  // namespace skep::test
