#include <cerrno>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

struct Prefix {
  uint32_t length = 0;
  std::array<uint8_t, 4> data{};
  friend bool operator==(const Prefix&, const Prefix&) = default;
};

class LpmTries : public ProgramContract {
 protected:
  static constexpr uint32_t kFlags = BPF_F_NO_PREALLOC;
  long create(uint32_t entries = 100) {
    return create_map(BPF_MAP_TYPE_LPM_TRIE, sizeof(Prefix), 4, entries, kFlags);
  }
  void put(const Fd& map, const Prefix& prefix, uint32_t value) {
    ASSERT_EQ(update(map, &prefix, &value), 0);
  }
  // The value that an address gets; 0: none.
  uint32_t match(const Fd& map, std::array<uint8_t, 4> address, uint32_t length = 32) {
    const Prefix key{length, address};
    uint32_t value = 0;
    const long result = lookup(map, &key, &value);
    EXPECT_EQ(result, value == 0 ? -ENOENT : 0);
    return value;
  }
  std::vector<Prefix> all_keys(const Fd& map) {
    std::vector<Prefix> keys;
    Prefix key;
    for (long result = next_key(map, nullptr, &key); result == 0;) {
      keys.push_back(key);
      const Prefix current = key;
      result = next_key(map, &current, &key);
    }
    return keys;
  }
};
SKEP_CONTRACT(LpmTries);

TEST_P(LpmTries, Attributes) {
  EXPECT_GE(Fd(create()).get(), 0);
  const auto make = [&](uint32_t key, uint32_t value, uint32_t entries, uint32_t flags) {
    return create_map(BPF_MAP_TYPE_LPM_TRIE, key, value, entries, flags);
  };
  EXPECT_EQ(make(8, 4, 1, 0), -EINVAL) << "pre-allocation";
  EXPECT_EQ(make(4, 4, 1, kFlags), -EINVAL) << "no data";
  EXPECT_GE(Fd(make(5, 1, 1, kFlags)).get(), 0);
  EXPECT_GE(Fd(make(260, 4, 1, kFlags)).get(), 0);
  EXPECT_EQ(make(261, 4, 1, kFlags), -EINVAL);
  EXPECT_EQ(make(8, 0, 1, kFlags), -EINVAL);
  EXPECT_EQ(make(8, 4, 0, kFlags), -EINVAL);
  EXPECT_EQ(make(8, 4 << 20, 1, kFlags), -EINVAL);
  EXPECT_EQ(make(8, 4, 1, kFlags | BPF_F_ZERO_SEED), -EINVAL);
  EXPECT_EQ(make(8, 4, 1, kFlags | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG), -EINVAL);
  EXPECT_GE(Fd(make(8, 4, 1, kFlags | BPF_F_RDONLY_PROG)).get(), 0);
}

TEST_P(LpmTries, TheLongestPrefixWins) {
  const Fd map(create());
  EXPECT_EQ(match(map, {10, 1, 2, 3}), 0U);
  put(map, {8, {10, 0, 0, 0}}, 8);
  put(map, {16, {10, 1, 0, 0}}, 16);
  put(map, {24, {10, 1, 2, 0}}, 24);
  put(map, {32, {10, 1, 2, 3}}, 32);
  put(map, {9, {10, 128, 0, 0}}, 9);
  EXPECT_EQ(match(map, {10, 1, 2, 3}), 32U);
  EXPECT_EQ(match(map, {10, 1, 2, 4}), 24U);
  EXPECT_EQ(match(map, {10, 1, 3, 4}), 16U);
  EXPECT_EQ(match(map, {10, 2, 2, 3}), 8U);
  EXPECT_EQ(match(map, {10, 200, 2, 3}), 9U);
  EXPECT_EQ(match(map, {11, 1, 2, 3}), 0U);
  // Shorter keys match what is no longer than they are.
  EXPECT_EQ(match(map, {10, 1, 2, 3}, 31), 24U);
  EXPECT_EQ(match(map, {10, 1, 2, 3}, 16), 16U);
  EXPECT_EQ(match(map, {10, 1, 2, 3}, 15), 8U);
  EXPECT_EQ(match(map, {10, 1, 2, 3}, 7), 0U);
  put(map, {0, {}}, 1);
  EXPECT_EQ(match(map, {11, 1, 2, 3}), 1U);
  EXPECT_EQ(match(map, {11, 1, 2, 3}, 0), 1U);
  EXPECT_EQ(match(map, {10, 1, 2, 3}), 32U);
}

TEST_P(LpmTries, BitsBehindThePrefixDoNotCount) {
  const Fd map(create());
  put(map, {20, {10, 1, 0xff, 0xff}}, 1);
  EXPECT_EQ(match(map, {10, 1, 0xf0, 0}), 1U);
  const Prefix same{20, {10, 1, 0xf1, 2}};
  const uint32_t value = 2;
  EXPECT_EQ(update(map, &same, &value, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(update(map, &same, &value, BPF_EXIST), 0);
  EXPECT_EQ(all_keys(map), (std::vector<Prefix>{same})) << "the key is the last one's";
  EXPECT_EQ(erase(map, &same), 0);
}

TEST_P(LpmTries, UpdateFlagsAndRoom) {
  const Fd map(create(2));
  const Prefix first{24, {10, 0, 0, 0}};
  const Prefix second{8, {10, 0, 0, 0}};
  const Prefix third{12, {11, 0, 0, 0}};
  uint32_t value = 1;
  EXPECT_EQ(update(map, &first, &value, BPF_EXIST), -ENOENT);
  EXPECT_EQ(update(map, &first, &value, BPF_NOEXIST), 0);
  EXPECT_EQ(update(map, &first, &value, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(update(map, &first, &value, 3), -EINVAL);
  EXPECT_EQ(update(map, &second, &value), 0);
  EXPECT_EQ(update(map, &third, &value), -ENOSPC);
  EXPECT_EQ(update(map, &third, &value, BPF_EXIST), -ENOENT);
  EXPECT_EQ(update(map, &first, &value), 0) << "one that is there takes no room";
  EXPECT_EQ(erase(map, &second), 0);
  EXPECT_EQ(erase(map, &second), -ENOENT);
  EXPECT_EQ(update(map, &third, &value), 0);
  // Where two part there is no element.
  const Prefix parting{7, {10, 0, 0, 0}};
  EXPECT_EQ(erase(map, &parting), -ENOENT);
  const Prefix too_long{33, {10, 0, 0, 0}};
  EXPECT_EQ(update(map, &too_long, &value), -EINVAL);
  EXPECT_EQ(lookup(map, &too_long, &value), -ENOENT);
  EXPECT_EQ(erase(map, &too_long), -EINVAL);
}

// Postorder: what is more specific first, 0 before 1.
TEST_P(LpmTries, KeysComeInPostorder) {
  const Fd map(create());
  Prefix none;
  EXPECT_EQ(next_key(map, nullptr, &none), -ENOENT);
  const std::vector<Prefix> expected{{24, {9, 0, 0, 0}},       {32, {10, 1, 2, 3}},    {24, {10, 1, 2, 0}},
                                     {24, {10, 1, 3, 0}},      {16, {10, 1, 0, 0}},    {15, {10, 2, 0, 0}},
                                     {14, {10, 0, 0, 0}},      {17, {10, 200, 0, 0}},  {8, {10, 0, 0, 0}},
                                     {1, {0, 0, 0, 0}},        {24, {192, 168, 0, 0}}, {24, {192, 168, 1, 0}},
                                     {24, {192, 168, 128, 0}}, {16, {192, 168, 0, 0}}, {0, {0, 0, 0, 0}}};
  for (size_t n = 0; n < expected.size(); ++n) put(map, expected[n * 7 % expected.size()], 1);
  EXPECT_EQ(all_keys(map), expected);
  // A key that is not there, and one that cannot be, begin at the beginning.
  for (const Prefix& unknown : {Prefix{23, {10, 1, 2, 0}}, Prefix{33, {10, 1, 2, 0}}}) {
    Prefix first;
    EXPECT_EQ(next_key(map, &unknown, &first), 0);
    EXPECT_EQ(first, expected.front());
  }
  for (const Prefix& key : expected) ASSERT_EQ(erase(map, &key), 0);
  EXPECT_EQ(next_key(map, nullptr, &none), -ENOENT);
}

TEST_P(LpmTries, Batches) {
  const Fd map(create(10));
  std::array<Prefix, 4> keys{
      {{24, {10, 0, 0, 0}}, {24, {10, 0, 1, 0}}, {16, {10, 0, 0, 0}}, {8, {10, 0, 0, 0}}}};
  std::array<uint32_t, 4> values{1, 2, 3, 4};
  bpf_attr attributes{};
  attributes.batch.map_fd = map.field();
  attributes.batch.keys = pointer(keys.data());
  attributes.batch.values = pointer(values.data());
  attributes.batch.count = 4;
  EXPECT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), 0);
  EXPECT_EQ(attributes.batch.count, 4U);
  std::array<Prefix, 4> read_keys{};
  std::array<uint32_t, 4> read_values{};
  Prefix cursor;
  attributes.batch.keys = pointer(read_keys.data());
  attributes.batch.values = pointer(read_values.data());
  attributes.batch.out_batch = pointer(&cursor);
  attributes.batch.count = 3;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), 0);
  EXPECT_EQ(attributes.batch.count, 3U);
  EXPECT_EQ(cursor, keys[2]);
  attributes.batch.in_batch = pointer(&cursor);
  attributes.batch.keys = pointer(read_keys.data() + 3);
  attributes.batch.values = pointer(read_values.data() + 3);
  attributes.batch.count = 1;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), 0);
  EXPECT_EQ(read_keys, keys);
  EXPECT_EQ(read_values, values);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -ENOENT);
  EXPECT_EQ(attributes.batch.count, 0U);
  attributes.batch.count = 1;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_BATCH, attributes), -kNotSupported);
  attributes.batch.in_batch = 0;
  attributes.batch.out_batch = 0;
  attributes.batch.values = 0;
  attributes.batch.keys = pointer(keys.data());
  attributes.batch.count = 4;
  EXPECT_EQ(call(BPF_MAP_DELETE_BATCH, attributes), 0);
  EXPECT_TRUE(all_keys(map).empty());
  EXPECT_EQ(lookup_and_delete(map, keys.data(), values.data()), -kNotSupported);
}

// Keys of one byte, and of more than eight.
TEST_P(LpmTries, OtherKeySizes) {
  struct Small {
    uint32_t length;
    uint8_t data;
  } __attribute__((packed));
  const Fd small(create_map(BPF_MAP_TYPE_LPM_TRIE, sizeof(Small), 1, 10, kFlags));
  const Small half{1, 0x80};
  const Small exact{8, 0x81};
  uint8_t value = 5;
  EXPECT_EQ(update(small, &half, &value), 0);
  value = 6;
  EXPECT_EQ(update(small, &exact, &value), 0);
  const Small other{8, 0x82};
  EXPECT_EQ(lookup(small, &other, &value), 0);
  EXPECT_EQ(value, 5);
  EXPECT_EQ(lookup(small, &exact, &value), 0);
  EXPECT_EQ(value, 6);
  struct Large {
    uint32_t length = 0;
    std::array<uint8_t, 17> data{};
  } __attribute__((packed));
  const Fd large(create_map(BPF_MAP_TYPE_LPM_TRIE, sizeof(Large), 1, 10, kFlags));
  Large key;
  for (const uint32_t length : {136U, 129U, 64U}) {
    key.length = length;
    value = static_cast<uint8_t>(length);
    EXPECT_EQ(update(large, &key, &value), 0);
  }
  key.length = 136;
  for (const auto& [byte, expected] : {std::pair{16, 129}, {15, 64}, {8, 64}}) {
    Large changed = key;
    changed.data[static_cast<size_t>(byte)] = 1;
    EXPECT_EQ(lookup(large, &changed, &value), 0);
    EXPECT_EQ(value, expected) << byte;
  }
  key.data[7] = 1;
  EXPECT_EQ(lookup(large, &key, &value), -ENOENT);
}

TEST_P(LpmTries, Programs) {
  const Fd map(create_map(BPF_MAP_TYPE_LPM_TRIE, 8, 8, 10, kFlags));
  // The value on the stack is the key, too: prefix length 32 and four bytes of 0.
  EXPECT_EQ(run(call_with_value(map, BPF_FUNC_map_delete_elem, 32, 0)), -ENOENT);
  const Prefix key{16, {}};
  const uint64_t value = 3;
  ASSERT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(run(call_with_value(map, BPF_FUNC_map_delete_elem, 17, 0)), -ENOENT);
  EXPECT_EQ(run(call_with_value(map, BPF_FUNC_map_delete_elem, 33, 0)), -EINVAL);
  auto program =
      code({store(-8, 24), load_map(1, map), stack_address(2, -8), {call_helper(BPF_FUNC_map_lookup_elem)}});
  program.push_back(insn(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0));
  program.push_back(insn(BPF_LDX | BPF_MEM | BPF_DW, 0, 0, 0, 0));
  program.push_back(exit_insn());
  EXPECT_EQ(run(program), 3);
  EXPECT_EQ(run(call_with_value(map, BPF_FUNC_map_delete_elem, 16, 0)), 0);
  EXPECT_EQ(run(program), 0);
}

}  // namespace
}  // namespace skep::test
