#include <cerrno>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

// QUEUE and STACK: the same but for the order.
class Keyless : public ProgramContract {
 protected:
  static constexpr std::array<uint32_t, 2> kTypes{BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK};

  void push_all(const Fd& map, std::initializer_list<uint32_t> values) {
    for (const uint32_t value : values) ASSERT_EQ(update(map, nullptr, &value), 0);
  }
  std::vector<uint32_t> pop_all(const Fd& map) {
    std::vector<uint32_t> values;
    for (uint32_t value = 0; lookup_and_delete(map, nullptr, &value) == 0;) values.push_back(value);
    return values;
  }
};
SKEP_CONTRACT(Keyless);

using Values = std::vector<uint32_t>;

TEST_P(Keyless, Attributes) {
  for (const uint32_t type : kTypes) {
    EXPECT_GE(Fd(create_map(type, 0, 4, 1)).get(), 0);
    EXPECT_EQ(create_map(type, 4, 4, 1), -EINVAL);
    EXPECT_EQ(create_map(type, 0, 0, 1), -EINVAL);
    EXPECT_EQ(create_map(type, 0, 4, 0), -EINVAL);
    EXPECT_EQ(create_map(type, 0, 4, 1, BPF_F_NO_PREALLOC), -EINVAL);
    EXPECT_EQ(create_map(type, 0, 4, 1, BPF_F_ZERO_SEED), -EINVAL);
    EXPECT_EQ(create_map(type, 0, 4, 1, BPF_F_MMAPABLE), -EINVAL);
    EXPECT_EQ(create_map(type, 0, 4, 1, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG), -EINVAL);
    EXPECT_GE(Fd(create_map(type, 0, 4, 1, BPF_F_RDONLY_PROG)).get(), 0);
    EXPECT_GE(Fd(create_map(type, 0, 4 << 20, 1)).get(), 0);
    EXPECT_EQ(create_map(type, 0, (4 << 20) + 1, 1), -E2BIG);
    // Later kernels take what earlier ones refuse, and the memory with it.
    if (!on_host()) {
      EXPECT_EQ(create_map(type, 0, 4, 0x3fffffff), -E2BIG);
    }
    bpf_attr extra{};
    extra.map_type = type;
    extra.value_size = 4;
    extra.max_entries = 1;
    extra.map_extra = 1;
    EXPECT_EQ(create_map(extra), -EINVAL);
  }
}

TEST_P(Keyless, Order) {
  const Fd queue(create_map(BPF_MAP_TYPE_QUEUE, 0, 4, 3));
  const Fd stack(create_map(BPF_MAP_TYPE_STACK, 0, 4, 3));
  for (int round = 0; round < 5; ++round) {
    push_all(queue, {1, 2, 3});
    EXPECT_EQ(pop_all(queue), (Values{1, 2, 3}));
    push_all(stack, {1, 2, 3});
    EXPECT_EQ(pop_all(stack), (Values{3, 2, 1}));
  }
  push_all(queue, {1, 2});
  uint32_t value = 0;
  EXPECT_EQ(lookup_and_delete(queue, nullptr, &value), 0);
  push_all(queue, {3, 4});
  EXPECT_EQ(pop_all(queue), (Values{2, 3, 4}));
  push_all(stack, {1, 2});
  EXPECT_EQ(lookup_and_delete(stack, nullptr, &value), 0);
  EXPECT_EQ(value, 2U);
  push_all(stack, {3, 4});
  EXPECT_EQ(pop_all(stack), (Values{4, 3, 1}));
}

TEST_P(Keyless, LookupIsAPeek) {
  for (const uint32_t type : kTypes) {
    const Fd map(create_map(type, 0, 4, 2));
    uint32_t value = 7;
    EXPECT_EQ(lookup(map, nullptr, &value), -ENOENT);
    EXPECT_EQ(lookup_and_delete(map, nullptr, &value), -ENOENT);
    EXPECT_EQ(value, 7U) << "nothing is copied out";
    push_all(map, {5, 6});
    for (int again = 0; again < 2; ++again) {
      EXPECT_EQ(lookup(map, nullptr, &value), 0);
      EXPECT_EQ(value, type == BPF_MAP_TYPE_QUEUE ? 5U : 6U);
    }
  }
}

TEST_P(Keyless, AFullMapIsFull) {
  for (const uint32_t type : kTypes) {
    const Fd map(create_map(type, 0, 4, 2));
    push_all(map, {1, 2});
    uint32_t value = 3;
    EXPECT_EQ(update(map, nullptr, &value), -E2BIG);
    EXPECT_EQ(lookup_and_delete(map, nullptr, &value), 0);
    EXPECT_EQ(update(map, nullptr, &value), 0);
    EXPECT_EQ(update(map, nullptr, &value), -E2BIG);
  }
}

TEST_P(Keyless, ExistOverwritesTheOldest) {
  const auto overwrite = [&](const Fd& map, uint32_t value) {
    EXPECT_EQ(update(map, nullptr, &value, BPF_EXIST), 0);
  };
  const Fd queue(create_map(BPF_MAP_TYPE_QUEUE, 0, 4, 3));
  const Fd stack(create_map(BPF_MAP_TYPE_STACK, 0, 4, 3));
  for (uint32_t value = 1; value <= 8; ++value) {
    overwrite(queue, value);
    overwrite(stack, value);
  }
  EXPECT_EQ(pop_all(queue), (Values{6, 7, 8}));
  EXPECT_EQ(pop_all(stack), (Values{8, 7, 6}));
  // What was overwritten does not come back, and room that pops make is used again.
  push_all(stack, {1, 2, 3});
  overwrite(stack, 4);
  uint32_t value = 0;
  EXPECT_EQ(lookup_and_delete(stack, nullptr, &value), 0);
  EXPECT_EQ(value, 4U);
  push_all(stack, {5});
  EXPECT_EQ(update(stack, nullptr, &value), -E2BIG);
  EXPECT_EQ(pop_all(stack), (Values{5, 3, 2}));
  push_all(queue, {1, 2, 3});
  overwrite(queue, 4);
  EXPECT_EQ(lookup_and_delete(queue, nullptr, &value), 0);
  EXPECT_EQ(value, 2U);
  push_all(queue, {5});
  EXPECT_EQ(update(queue, nullptr, &value), -E2BIG);
  EXPECT_EQ(pop_all(queue), (Values{3, 4, 5}));
}

TEST_P(Keyless, RefusedCommands) {
  for (const uint32_t type : kTypes) {
    const Fd map(create_map(type, 0, 4, 2));
    uint32_t value = 1;
    uint32_t key = 0;
    EXPECT_EQ(update(map, &key, &value), -EINVAL) << "a key";
    EXPECT_EQ(lookup(map, &key, &value), -EINVAL) << "a key";
    EXPECT_EQ(lookup_and_delete(map, &key, &value), -EINVAL) << "a key";
    EXPECT_EQ(update(map, nullptr, &value, BPF_NOEXIST), -EINVAL);
    EXPECT_EQ(update(map, nullptr, &value, BPF_NOEXIST | BPF_EXIST), -EINVAL);
    EXPECT_EQ(update(map, nullptr, &value, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(update(map, nullptr, nullptr), -EFAULT);
    EXPECT_EQ(lookup(map, nullptr, &value, 1), -EINVAL);
    EXPECT_EQ(lookup(map, nullptr, &value, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(lookup_and_delete(map, nullptr, &value, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(erase(map, nullptr), -EINVAL);
    EXPECT_EQ(next_key(map, nullptr, &key), -EINVAL);
    for (const int command :
         {BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH})
      EXPECT_EQ(batch(command, map), -kNotSupported) << command;
    push_all(map, {1});
    EXPECT_EQ(lookup(map, nullptr, nullptr), -EFAULT);
    EXPECT_EQ(freeze(map), 0);
    EXPECT_EQ(lookup(map, nullptr, &value), 0);
    EXPECT_EQ(update(map, nullptr, &value), -EPERM);
    EXPECT_EQ(lookup_and_delete(map, nullptr, &value), -EPERM);
  }
}

TEST_P(Keyless, OddSizesAreKeptWhole) {
  for (const uint32_t type : kTypes) {
    const Fd map(create_map(type, 0, 13, 4));
    std::array<uint8_t, 14> value{};
    for (uint8_t n = 0; n < 13; ++n) value[n] = static_cast<uint8_t>(n + 1);
    EXPECT_EQ(update(map, nullptr, value.data()), 0);
    std::array<uint8_t, 14> got{};
    EXPECT_EQ(lookup_and_delete(map, nullptr, got.data()), 0);
    EXPECT_EQ(got, value);
  }
}

TEST_P(Keyless, Programs) {
  for (const uint32_t type : kTypes) {
    const Fd map(create_map(type, 0, 8, 2));
    const auto push = [&](int32_t value, int32_t flags) {
      return run(call_with_value(map, BPF_FUNC_map_push_elem, value, flags));
    };
    const auto value_of = [&](int32_t helper) { return run(call_with_value(map, helper, 77, 0, true)); };
    EXPECT_EQ(run(call_with_value(map, BPF_FUNC_map_peek_elem, 0, 0)), -ENOENT);
    EXPECT_EQ(value_of(BPF_FUNC_map_pop_elem), 0) << "zeroed";
    EXPECT_EQ(push(11, BPF_ANY), 0);
    EXPECT_EQ(push(12, BPF_NOEXIST), -EINVAL);
    EXPECT_EQ(push(12, BPF_ANY), 0);
    EXPECT_EQ(push(13, BPF_ANY), -E2BIG);
    EXPECT_EQ(push(13, BPF_EXIST), 0);
    const bool queue = type == BPF_MAP_TYPE_QUEUE;
    EXPECT_EQ(value_of(BPF_FUNC_map_peek_elem), queue ? 12 : 13);
    EXPECT_EQ(value_of(BPF_FUNC_map_pop_elem), queue ? 12 : 13);
    EXPECT_EQ(value_of(BPF_FUNC_map_pop_elem), queue ? 13 : 12);
    EXPECT_EQ(run(call_with_value(map, BPF_FUNC_map_pop_elem, 0, 0)), -ENOENT);
    // The kernel's verifier finds fault with the key of no bytes before it looks at the map's type.
    for (const int32_t helper :
         {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem})
      EXPECT_EQ(run(call_with_value(map, helper, 0, 0)), on_host() ? -EACCES : -EINVAL) << helper;
  }
  const Fd hash(create_map(BPF_MAP_TYPE_HASH, 8, 8, 2));
  for (const int32_t helper : {BPF_FUNC_map_push_elem, BPF_FUNC_map_pop_elem, BPF_FUNC_map_peek_elem})
    EXPECT_EQ(run(call_with_value(hash, helper, 0, 0)), -EINVAL) << helper;
}

}  // namespace
}  // namespace skep::test
