// The rows of the DEVMAP_HASH reference: attributes, commands, helpers, flags.
#include <cerrno>

#include "redirect_programs.hpp"

namespace skep::test {
namespace {

constexpr uint32_t kType = BPF_MAP_TYPE_DEVMAP_HASH;

class DevMapHashContract : public RedirectMapContract {
 protected:
  DevMapHashContract() : RedirectMapContract(kType) {}
};
SKEP_CONTRACT(DevMapHashContract);

TEST_P(DevMapHashContract, Attributes) {
  // value_size: 4 or 8
  EXPECT_EQ(create(4, 4, 1), 0);
  EXPECT_EQ(create(4, 8, 1), 0);
  for (const uint32_t size : {0U, 1U, 5U, 16U}) EXPECT_EQ(create(4, size, 1), -EINVAL) << size;
  // key_size: not free, but 4
  for (const uint32_t size : {0U, 1U, 8U, 16U}) EXPECT_EQ(create(size, 4, 1), -EINVAL) << size;
  // max_entries
  EXPECT_EQ(create(4, 4, 0), -EINVAL);
  EXPECT_EQ(create(4, 4, 3), 0) << "no power of two";
  EXPECT_EQ(create(4, 4, (1U << 31) + 1), -EINVAL);
  // flags
  EXPECT_EQ(create(4, 4, 1, BPF_F_NUMA_NODE), 0);
  EXPECT_EQ(create(4, 4, 1, BPF_F_RDONLY), 0);
  EXPECT_EQ(create(4, 4, 1, BPF_F_WRONLY), 0);
  EXPECT_EQ(create(4, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY), -EINVAL);
  for (const uint32_t flag : {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_RDONLY_PROG},
                              uint32_t{BPF_F_WRONLY_PROG}, uint32_t{BPF_F_ZERO_SEED}})
    EXPECT_EQ(create(4, 4, 1, flag), -EINVAL) << flag;
}

TEST_P(DevMapHashContract, NumaNode) {
  bpf_attr attributes{};
  attributes.map_type = kType;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 1;
  attributes.map_flags = BPF_F_NUMA_NODE;
  attributes.numa_node = 0;
  EXPECT_GE(Fd(create_map(attributes)).get(), 0);
  attributes.numa_node = 4096;
  EXPECT_EQ(create_map(attributes), -EINVAL);
}

TEST_P(DevMapHashContract, LookupUpdateDelete) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 0xdeadbeef;
  uint32_t value = kLoopback;
  uint32_t got = 0;
  EXPECT_EQ(lookup(map, &key, &got), -ENOENT);
  EXPECT_EQ(erase(map, &key), -ENOENT);
  EXPECT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(lookup(map, &key, &got), 0);
  EXPECT_EQ(got, kLoopback);
  value = kNoDevice;
  EXPECT_EQ(update(map, &key, &value), -EINVAL);
  value = 0;
  EXPECT_EQ(update(map, &key, &value), -EINVAL) << "no device is not a deletion here";
  EXPECT_EQ(erase(map, &key), 0);
  EXPECT_EQ(lookup(map, &key, &got), -ENOENT);
}

TEST_P(DevMapHashContract, UpdateFlags) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 9;
  const uint32_t value = kLoopback;
  EXPECT_EQ(update(map, &key, &value, BPF_EXIST), 0) << "it need not be there";
  EXPECT_EQ(update(map, &key, &value, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(update(map, &key, &value, BPF_EXIST), 0);
  EXPECT_EQ(update(map, &key, &value, 3), -EINVAL);
  const uint32_t other = 10;
  EXPECT_EQ(update(map, &other, &value, BPF_NOEXIST), 0);
}

TEST_P(DevMapHashContract, FullMaps) {
  const Fd map(create_map(kType, 4, 4, 3));
  const uint32_t value = kLoopback;
  const uint32_t nowhere = kNoDevice;
  for (const uint32_t key : {4U, 8U, 12U}) ASSERT_EQ(update(map, &key, &value), 0);
  const uint32_t fourth = 16;
  EXPECT_EQ(update(map, &fourth, &value), -E2BIG);
  EXPECT_EQ(update(map, &fourth, &nowhere), -EINVAL) << "the device is looked at first";
  const uint32_t there = 8;
  EXPECT_EQ(update(map, &there, &value), 0) << "what is there can be replaced";
  EXPECT_EQ(update(map, &there, &nowhere, BPF_NOEXIST), -EEXIST) << "presence comes before the device";
  ASSERT_EQ(erase(map, &there), 0);
  EXPECT_EQ(update(map, &fourth, &value), 0);
}

// Buckets by the low bits of the key; in each the newest first, and a replaced element is new.
TEST_P(DevMapHashContract, OrderOfKeys) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t value = kLoopback;
  const auto keys = [&] {
    std::vector<uint32_t> found;
    uint32_t key = 0;
    for (long result = next_key(map, nullptr, &key); result == 0;) {
      found.push_back(key);
      const uint32_t current = key;
      result = next_key(map, &current, &key);
    }
    return found;
  };
  EXPECT_TRUE(keys().empty());
  for (const uint32_t key : {5U, 2U, 1U, 9U}) ASSERT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(keys(), (std::vector<uint32_t>{9, 1, 5, 2}));
  const uint32_t oldest = 5;
  ASSERT_EQ(update(map, &oldest, &value), 0);
  EXPECT_EQ(keys(), (std::vector<uint32_t>{5, 9, 1, 2}));
  const uint32_t middle = 9;
  ASSERT_EQ(erase(map, &middle), 0);
  EXPECT_EQ(keys(), (std::vector<uint32_t>{5, 1, 2}));
  uint32_t next = 0;
  EXPECT_EQ(next_key(map, &middle, &next), 0) << "a key that is gone";
  EXPECT_EQ(next, 5U);
}

TEST_P(DevMapHashContract, ProgramsAreWrittenByDescriptorAndReadById) {
  const Fd map(create_map(kType, 4, 8, 4));
  const Fd program(load_xdp(BPF_XDP_DEVMAP));
  const uint32_t key = 100;
  const bpf_devmap_val value{.ifindex = kLoopback, .bpf_prog = {.fd = program.get()}};
  ASSERT_EQ(update(map, &key, &value), 0);
  bpf_devmap_val got{};
  ASSERT_EQ(lookup(map, &key, &got), 0);
  EXPECT_EQ(got.ifindex, kLoopback);
  EXPECT_EQ(got.bpf_prog.id, program_id(program));
  const Fd plain(load_xdp(0));
  for (const int wrong : {12345, map.get(), plain.get()}) {
    const bpf_devmap_val bad{.ifindex = kLoopback, .bpf_prog = {.fd = wrong}};
    EXPECT_EQ(update(map, &key, &bad), -EINVAL) << wrong;
  }
}

// A value of four bytes has no program.
TEST_P(DevMapHashContract, OldValues) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 1;
  const uint32_t value[2]{kLoopback, 0xffff};
  ASSERT_EQ(update(map, &key, value), 0);
  uint32_t got[2]{0, 7};
  ASSERT_EQ(lookup(map, &key, got), 0);
  EXPECT_EQ(got[0], kLoopback);
  EXPECT_EQ(got[1], 7U);
}

TEST_P(DevMapHashContract, CommandsItLacks) { expect_single_commands_only(); }

TEST_P(DevMapHashContract, ReadOnlyAndWriteOnlyAreForUserSpace) {
  const uint32_t key = 1;
  uint32_t value = kLoopback;
  const Fd read_only(create_map(kType, 4, 4, 4, BPF_F_RDONLY));
  EXPECT_EQ(update(read_only, &key, &value), -EPERM);
  EXPECT_EQ(lookup(read_only, &key, &value), -ENOENT);
  const Fd write_only(create_map(kType, 4, 4, 4, BPF_F_WRONLY));
  EXPECT_EQ(update(write_only, &key, &value), 0);
  EXPECT_EQ(lookup(write_only, &key, &value), -EPERM);
  EXPECT_EQ(redirected(write_only, 1, 0), XDP_REDIRECT);
}

TEST_P(DevMapHashContract, RedirectsOrFallsBack) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 1000;
  const uint32_t value = kLoopback;
  ASSERT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(redirected(map, 1000, 0), XDP_REDIRECT);
  for (const int fallback : {XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX})
    EXPECT_EQ(redirected(map, 1001, fallback), fallback);
  EXPECT_EQ(redirected(map, 1000, 4), XDP_ABORTED) << "an unknown flag";
  EXPECT_EQ(redirected(map, 1001, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS), XDP_REDIRECT);
}

TEST_P(DevMapHashContract, HelpersThatTakeIt) {
  const Fd map(create_map(kType, 4, 4, 4));
  EXPECT_EQ(loads_call(map, BPF_FUNC_map_lookup_elem), 0);
  // The kernel looks first whether the program may write to the map at all.
  for (const int helper : {BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem})
    EXPECT_EQ(loads_call(map, helper), on_host() ? -EACCES : -EINVAL) << helper;
}

// Unlike DEVMAP it does not tie the programs that name it to one kind.
TEST_P(DevMapHashContract, BelongsToNoProgramThatNamesIt) {
  const Fd map(create_map(kType, 4, 8, 4));
  const auto code = redirecting(map, 0, 0);
  bpf_attr attributes = load_attributes(BPF_PROG_TYPE_XDP, code);
  attributes.prog_flags = BPF_F_XDP_HAS_FRAGS;
  const Fd first(load(attributes));
  ASSERT_GE(first.get(), 0);
  EXPECT_GE(Fd(load(BPF_PROG_TYPE_XDP, code)).get(), 0);
}

}  // namespace
}  // namespace skep::test
