#include <sys/mman.h>
#include <cerrno>

#include "bpf_fixture.hpp"

namespace skep::test {
namespace {

class MapCommands : public Contract {};
SKEP_CONTRACT(MapCommands);

TEST_P(MapCommands, ElementsComeBack) {
  const Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 8, 16));
  ASSERT_GE(map.get(), 0);
  const uint32_t key = 7;
  const uint64_t value = 0x1122334455667788;
  uint64_t got = 0;
  EXPECT_EQ(lookup(map, &key, &got), -ENOENT);
  EXPECT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(lookup(map, &key, &got), 0);
  EXPECT_EQ(got, value);
  EXPECT_EQ(update(map, &key, &value, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(update(map, &key, &value, BPF_EXIST), 0);
  EXPECT_EQ(update(map, &key, &value, 3), -EINVAL);
  EXPECT_EQ(update(map, &key, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(lookup(map, &key, &got, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(lookup(map, &key, &got, 1), -EINVAL);
  EXPECT_EQ(erase(map, &key), 0);
  EXPECT_EQ(erase(map, &key), -ENOENT);
}

TEST_P(MapCommands, FullHashTable) {
  const Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 4, 2));
  for (uint32_t key = 0; key < 2; ++key) EXPECT_EQ(update(map, &key, &key), 0);
  const uint32_t third = 2;
  EXPECT_EQ(update(map, &third, &third), -E2BIG);
}

TEST_P(MapCommands, ArrayBounds) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 3));
  const uint32_t outside = 3;
  uint32_t value = 5;
  EXPECT_EQ(update(map, &outside, &value), -E2BIG);
  EXPECT_EQ(lookup(map, &outside, &value), -ENOENT);
  const uint32_t inside = 2;
  EXPECT_EQ(update(map, &inside, &value), 0);
  EXPECT_EQ(update(map, &inside, &value, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(erase(map, &inside), -EINVAL);
}

TEST_P(MapCommands, KeysOneByOne) {
  const Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 4, 8));
  uint32_t next = 0;
  EXPECT_EQ(next_key(map, nullptr, &next), -ENOENT);
  for (const uint32_t key : {11U, 22U, 33U}) ASSERT_EQ(update(map, &key, &key), 0);
  uint32_t sum = 0;
  unsigned count = 0;
  uint32_t key = 0;
  for (long result = next_key(map, nullptr, &key); result == 0; ++count) {
    sum += key;
    const uint32_t current = key;
    result = next_key(map, &current, &key);
  }
  EXPECT_EQ(count, 3U);
  EXPECT_EQ(sum, 66U);
  // An unknown key begins at the beginning.
  const uint32_t unknown = 44;
  EXPECT_EQ(next_key(map, &unknown, &key), 0);
}

TEST_P(MapCommands, PerCpuValuesAreRoundedUp) {
  const unsigned cpus = bpf_->cpus();
  for (const uint32_t type : {uint32_t{BPF_MAP_TYPE_PERCPU_ARRAY}, uint32_t{BPF_MAP_TYPE_PERCPU_HASH}}) {
    const Fd map(create_map(type, 4, 4, 4));
    ASSERT_GE(map.get(), 0);
    const uint32_t key = 1;
    std::vector<uint64_t> values(cpus + 1, 0xeeeeeeeeeeeeeeee);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) values[cpu] = cpu + 100;
    EXPECT_EQ(update(map, &key, values.data()), 0);
    std::vector<uint64_t> got(cpus + 1, 0xeeeeeeeeeeeeeeee);
    EXPECT_EQ(lookup(map, &key, got.data()), 0);
    EXPECT_EQ(got, values);
  }
}

TEST_P(MapCommands, LookupAndDelete) {
  const Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 8, 4));
  const uint32_t key = 9;
  const uint64_t value = 99;
  ASSERT_EQ(update(map, &key, &value), 0);
  uint64_t got = 0;
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  attributes.key = pointer(&key);
  attributes.value = pointer(&got);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attributes), 0);
  EXPECT_EQ(got, 99U);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attributes), -ENOENT);
  attributes.flags = 1;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attributes), -EINVAL);
  const Fd array(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4));
  attributes.map_fd = array.field();
  attributes.flags = 0;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attributes), -kNotSupported);
}

TEST_P(MapCommands, FrozenMapsAreNotWritten) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  const uint32_t key = 0;
  uint32_t value = 1;
  EXPECT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(freeze(map), 0);
  EXPECT_EQ(update(map, &key, &value), -EPERM);
  EXPECT_EQ(erase(map, &key), -EPERM);
  EXPECT_EQ(lookup(map, &key, &value), 0);
  EXPECT_EQ(freeze(map), -EPERM);
}

TEST_P(MapCommands, AccessIsTheDescriptors) {
  const Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 4, 4, BPF_F_RDONLY));
  ASSERT_GE(map.get(), 0);
  const uint32_t key = 1;
  uint32_t value = 2;
  EXPECT_EQ(update(map, &key, &value), -EPERM);
  EXPECT_EQ(lookup(map, &key, &value), -ENOENT);
  EXPECT_EQ(freeze(map), -EPERM);
  bpf_attr attributes{};
  attributes.map_id = map_id(map);
  const Fd writable(call(BPF_MAP_GET_FD_BY_ID, attributes));
  ASSERT_GE(writable.get(), 0);
  EXPECT_EQ(update(writable, &key, &value), 0);
  attributes.open_flags = BPF_F_WRONLY;
  const Fd write_only(call(BPF_MAP_GET_FD_BY_ID, attributes));
  EXPECT_EQ(update(write_only, &key, &value), 0);
  EXPECT_EQ(lookup(write_only, &key, &value), -EPERM);
  EXPECT_EQ(next_key(write_only, nullptr, &value), -EPERM);
  attributes.open_flags = BPF_F_WRONLY | BPF_F_RDONLY;
  EXPECT_EQ(call(BPF_MAP_GET_FD_BY_ID, attributes), -EINVAL);
  // The flags are no property of the map.
  bpf_map_info out{};
  ASSERT_EQ(info(map, out), 0);
  EXPECT_EQ(out.map_flags, 0U);
}

TEST_P(MapCommands, RefusedAttributes) {
  EXPECT_EQ(create_map(0xffff, 4, 4, 1), -EINVAL);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_UNSPEC, 4, 4, 1), -EINVAL);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_HASH, 4, 4, 0), -EINVAL);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_HASH, 0, 4, 1), -EINVAL);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_ARRAY, 8, 4, 1), -EINVAL);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 1U << 30), -EINVAL);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY), -EINVAL);
  EXPECT_EQ(create_map(BPF_MAP_TYPE_HASH, 4, 4, 1, BPF_F_MMAPABLE), -EINVAL);
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 1;
  std::strcpy(attributes.map_name, "good_Name.1");
  EXPECT_GE(Fd(create_map(attributes)).get(), 0);
  std::strcpy(attributes.map_name, "not good");
  EXPECT_EQ(create_map(attributes), -EINVAL);
  std::memset(attributes.map_name, 'a', sizeof attributes.map_name);
  EXPECT_EQ(create_map(attributes), -EINVAL);
  std::memset(attributes.map_name, 0, sizeof attributes.map_name);
  attributes.map_extra = 1;
  EXPECT_EQ(create_map(attributes), -EINVAL);
  attributes.map_extra = 0;
  attributes.btf_value_type_id = 1;
  attributes.btf_key_type_id = 1;
  attributes.btf_fd = 0x7fffffff;
  EXPECT_EQ(create_map(attributes), -EBADF);
  attributes.btf_value_type_id = 0;
  EXPECT_EQ(create_map(attributes), -EINVAL);
}

TEST_P(MapCommands, PointersToNowhere) {
  const Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 8, 4));
  const uint32_t key = 1;
  const uint64_t value = 1;
  const auto* nowhere = reinterpret_cast<const void*>(kNowhere);
  EXPECT_EQ(update(map, nowhere, &value), -EFAULT);
  EXPECT_EQ(update(map, &key, nowhere), -EFAULT);
  EXPECT_EQ(update(map, nullptr, &value), -EFAULT);
  ASSERT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(lookup(map, nowhere, nullptr), -EFAULT);
  EXPECT_EQ(lookup(map, &key, nullptr), -EFAULT);
  // Memory that may be read but not written.
  void* constant = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(constant, MAP_FAILED);
  EXPECT_EQ(lookup(map, &key, constant), -EFAULT);
  EXPECT_EQ(next_key(map, nullptr, constant), -EFAULT);
  EXPECT_EQ(lookup(map, constant, constant), -ENOENT);
  munmap(constant, 4096);
  EXPECT_EQ(erase(map, nowhere), -EFAULT);
  EXPECT_EQ(next_key(map, nowhere, nullptr), -EFAULT);
  // A value whose second half is not there.
  auto* pages = static_cast<std::byte*>(
      mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  munmap(pages + 4096, 4096);
  EXPECT_EQ(update(map, &key, pages + 4092), -EFAULT);
  EXPECT_EQ(lookup(map, &key, pages + 4092), -EFAULT);
  EXPECT_EQ(update(map, pages + 4092, pages + 4088), 0);
  munmap(pages, 4096);
  EXPECT_EQ(bpf_->call(BPF_MAP_LOOKUP_ELEM, nullptr, sizeof(bpf_attr)), -EFAULT);
  EXPECT_EQ(bpf_->call(BPF_MAP_LOOKUP_ELEM, reinterpret_cast<bpf_attr*>(kNowhere), 8), -EFAULT);
}

TEST_P(MapCommands, AttributesBeyondTheKnown) {
  alignas(8) std::array<std::byte, 4096> bytes{};
  auto* attributes = reinterpret_cast<bpf_attr*>(bytes.data());
  attributes->map_type = BPF_MAP_TYPE_ARRAY;
  attributes->key_size = 4;
  attributes->value_size = 4;
  attributes->max_entries = 1;
  EXPECT_GE(Fd(bpf_->call(BPF_MAP_CREATE, attributes, bytes.size())).get(), 0);
  EXPECT_EQ(bpf_->call(BPF_MAP_CREATE, attributes, bytes.size() + 1), -E2BIG);
  bytes.back() = std::byte{1};
  EXPECT_EQ(bpf_->call(BPF_MAP_CREATE, attributes, bytes.size()), -E2BIG);
  EXPECT_GE(Fd(bpf_->call(BPF_MAP_CREATE, attributes, bytes.size() - 1)).get(), 0);
  // Fields are zero where the caller gives none: 16 bytes are enough for an array.
  EXPECT_GE(Fd(bpf_->call(BPF_MAP_CREATE, attributes, 16)).get(), 0);
  EXPECT_EQ(bpf_->call(BPF_MAP_CREATE, attributes, 12), -EINVAL);
  // Known to bpf(2), but not of this command.
  bytes.back() = std::byte{0};
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  bpf_attr lookup_attributes{};
  uint32_t value = 0;
  lookup_attributes.map_fd = map.field();
  lookup_attributes.key = pointer(&value);
  lookup_attributes.value = pointer(&value);
  reinterpret_cast<std::byte*>(&lookup_attributes)[40] = std::byte{1};
  EXPECT_EQ(call(BPF_MAP_LOOKUP_ELEM, lookup_attributes), -EINVAL);
}

TEST_P(MapCommands, UnknownCommands) {
  bpf_attr attributes{};
  EXPECT_EQ(call(9999, attributes), -EINVAL);
  EXPECT_EQ(call(-1, attributes), -EINVAL);
}

TEST_P(MapCommands, Mappable) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE));
  ASSERT_GE(map.get(), 0);
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* values = static_cast<volatile uint64_t*>(memory);
  const uint32_t key = 2;
  uint64_t value = 42;
  EXPECT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(values[2], 42U);
  values[2] = 43;
  EXPECT_EQ(lookup(map, &key, &value), 0);
  EXPECT_EQ(value, 43U);
  // Not while it can be written to.
  EXPECT_EQ(freeze(map), -EBUSY);
  munmap(memory, 4096);
  EXPECT_EQ(freeze(map), 0);
  void* readable = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, map.get(), 0);
  ASSERT_NE(readable, MAP_FAILED);
  EXPECT_EQ(static_cast<volatile uint64_t*>(readable)[2], 43U);
  munmap(readable, 4096);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0), MAP_FAILED);
  bpf_attr attributes{};
  attributes.map_id = map_id(map);
  attributes.open_flags = BPF_F_RDONLY;
  const Fd read_only(call(BPF_MAP_GET_FD_BY_ID, attributes));
  ASSERT_GE(read_only.get(), 0);
  EXPECT_EQ(update(read_only, &key, &value), -EPERM);
  EXPECT_EQ(lookup(read_only, &key, &value), 0);
}

}  // namespace
}  // namespace skep::test
