#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

struct Case {
  const char* what;
  uint32_t type;
  uint32_t key_size;
  uint32_t value_size;
  uint32_t max_entries;
  uint32_t flags;
  uint32_t numa_node;
  uint64_t map_extra;
  int error;  // 0: the map is made
};

constexpr uint32_t kHash = BPF_MAP_TYPE_HASH;
constexpr uint32_t kArray = BPF_MAP_TYPE_ARRAY;
constexpr uint32_t kPercpuHash = BPF_MAP_TYPE_PERCPU_HASH;
constexpr uint32_t kPercpuArray = BPF_MAP_TYPE_PERCPU_ARRAY;
constexpr uint32_t kProgArray = BPF_MAP_TYPE_PROG_ARRAY;
constexpr uint32_t kLruHash = BPF_MAP_TYPE_LRU_HASH;
constexpr uint32_t kLruPercpuHash = BPF_MAP_TYPE_LRU_PERCPU_HASH;
constexpr int kNotSupportedError = 524;

// The kernel's array_map_alloc_check, fd_array_map_alloc_check, htab_map_alloc_check and map_create, by hand.
constexpr Case kCases[] = {
    {"type unspec", BPF_MAP_TYPE_UNSPEC, 4, 4, 1, 0, 0, 0, EINVAL},
    {"type unknown", 4000, 4, 4, 1, 0, 0, 0, EINVAL},
    {"map_extra", kHash, 4, 4, 1, 0, 0, 1, EINVAL},
    {"numa_node without its flag", kHash, 4, 4, 1, 0, 7, 0, 0},

    {"array", kArray, 4, 1, 1, 0, 0, 0, 0},
    {"array no entries", kArray, 4, 4, 0, 0, 0, 0, EINVAL},
    {"array key 8", kArray, 8, 4, 1, 0, 0, 0, EINVAL},
    {"array key 0", kArray, 0, 4, 1, 0, 0, 0, EINVAL},
    {"array value 0", kArray, 4, 0, 1, 0, 0, 0, EINVAL},
    {"array no prealloc", kArray, 4, 4, 1, BPF_F_NO_PREALLOC, 0, 0, EINVAL},
    {"array zero seed", kArray, 4, 4, 1, BPF_F_ZERO_SEED, 0, 0, EINVAL},
    {"array mmapable", kArray, 4, 4, 1, BPF_F_MMAPABLE, 0, 0, 0},
    {"array inner map", kArray, 4, 4, 1, BPF_F_INNER_MAP, 0, 0, 0},
    {"array preserve elements", kArray, 4, 4, 1, BPF_F_PRESERVE_ELEMS, 0, 0, EINVAL},
    {"array read only", kArray, 4, 4, 1, BPF_F_RDONLY, 0, 0, 0},
    {"array write only", kArray, 4, 4, 1, BPF_F_WRONLY, 0, 0, 0},
    {"array neither", kArray, 4, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY, 0, 0, EINVAL},
    {"array program reads", kArray, 4, 4, 1, BPF_F_RDONLY_PROG, 0, 0, 0},
    {"array program neither", kArray, 4, 4, 1, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG, 0, 0, EINVAL},
    {"array value over INT_MAX", kArray, 4, 0x80000000, 1, 0, 0, 0, E2BIG},
    {"array value whose rounding overflows", kArray, 4, 0xffffffff, 1, 0, 0, 0, E2BIG},
    {"array of 16 TiB", kArray, 4, 4096, 0xffffffff, 0, 0, 0, ENOMEM},
    {"array of 8 EiB", kArray, 4, 0x7ffffff8, 0xffffffff, 0, 0, 0, ENOMEM},
    {"mmapable array of 16 TiB", kArray, 4, 4096, 0xffffffff, BPF_F_MMAPABLE, 0, 0, ENOMEM},
    {"array on node 0", kArray, 4, 4, 1, BPF_F_NUMA_NODE, 0, 0, 0},
    {"array on node 99", kArray, 4, 4, 1, BPF_F_NUMA_NODE, 99, 0, EINVAL},
    {"array on no node", kArray, 4, 4, 1, BPF_F_NUMA_NODE, 0xffffffff, 0, 0},

    {"percpu array", kPercpuArray, 4, 4, 1, 0, 0, 0, 0},
    {"percpu array mmapable", kPercpuArray, 4, 4, 1, BPF_F_MMAPABLE, 0, 0, EINVAL},
    {"percpu array inner map", kPercpuArray, 4, 4, 1, BPF_F_INNER_MAP, 0, 0, EINVAL},
    {"percpu array on node 0", kPercpuArray, 4, 4, 1, BPF_F_NUMA_NODE, 0, 0, EINVAL},
    {"percpu array on no node", kPercpuArray, 4, 4, 1, BPF_F_NUMA_NODE, 0xffffffff, 0, 0},
    {"percpu array 32 KiB", kPercpuArray, 4, 32768, 1, 0, 0, 0, 0},
    {"percpu array over 32 KiB", kPercpuArray, 4, 32769, 1, 0, 0, 0, E2BIG},
    {"percpu array too many", kPercpuArray, 4, 32768, 0xffffffff, 0, 0, 0, ENOMEM},

    {"prog array", kProgArray, 4, 4, 1, 0, 0, 0, 0},
    {"prog array value 8", kProgArray, 4, 8, 1, 0, 0, 0, EINVAL},
    {"prog array key 8", kProgArray, 8, 4, 1, 0, 0, 0, EINVAL},
    {"prog array program reads", kProgArray, 4, 4, 1, BPF_F_RDONLY_PROG, 0, 0, EINVAL},
    {"prog array program writes", kProgArray, 4, 4, 1, BPF_F_WRONLY_PROG, 0, 0, EINVAL},
    {"prog array read only", kProgArray, 4, 4, 1, BPF_F_RDONLY, 0, 0, 0},
    {"prog array mmapable", kProgArray, 4, 4, 1, BPF_F_MMAPABLE, 0, 0, EINVAL},

    {"hash", kHash, 1, 1, 1, 0, 0, 0, 0},
    {"hash no entries", kHash, 4, 4, 0, 0, 0, 0, EINVAL},
    {"hash key 0", kHash, 0, 4, 1, 0, 0, 0, EINVAL},
    {"hash value 0", kHash, 4, 0, 1, 0, 0, 0, EINVAL},
    {"hash key 4096", kHash, 4096, 4, 1, 0, 0, 0, 0},
    {"hash no prealloc", kHash, 4, 4, 1, BPF_F_NO_PREALLOC, 0, 0, 0},
    {"hash zero seed", kHash, 4, 4, 1, BPF_F_ZERO_SEED, 0, 0, 0},
    {"hash lru list per cpu", kHash, 4, 4, 1, BPF_F_NO_COMMON_LRU, 0, 0, EINVAL},
    {"hash mmapable", kHash, 4, 4, 1, BPF_F_MMAPABLE, 0, 0, EINVAL},
    {"hash neither", kHash, 4, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY, 0, 0, EINVAL},
    {"hash program neither", kHash, 4, 4, 1, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG, 0, 0, EINVAL},
    {"hash largest", kHash, 4, 4194251, 1, BPF_F_NO_PREALLOC, 0, 0, 0},
    {"hash too large", kHash, 4, 4194252, 1, BPF_F_NO_PREALLOC, 0, 0, E2BIG},
    {"hash sizes that overflow", kHash, 0xffffffff, 0xffffffff, 1, 0, 0, 0, E2BIG},
    {"hash too many buckets", kHash, 4, 4, (1U << 27) + 1, BPF_F_NO_PREALLOC, 0, 0, E2BIG},
    {"hash most entries", kHash, 4, 4, 0xffffffff, 0, 0, 0, E2BIG},
    {"hash of 4 TiB", kHash, 4, 4194000, 1U << 20, 0, 0, 0, ENOMEM},
    {"hash on node 0", kHash, 4, 4, 1, BPF_F_NUMA_NODE, 0, 0, 0},
    {"hash on node 99", kHash, 4, 4, 1, BPF_F_NUMA_NODE, 99, 0, EINVAL},

    {"percpu hash", kPercpuHash, 4, 4, 1, 0, 0, 0, 0},
    {"percpu hash on node 0", kPercpuHash, 4, 4, 1, BPF_F_NUMA_NODE, 0, 0, EINVAL},
    {"percpu hash 32 KiB", kPercpuHash, 4, 32768, 1, 0, 0, 0, 0},
    {"percpu hash over 32 KiB", kPercpuHash, 4, 32769, 1, 0, 0, 0, E2BIG},
    {"percpu hash lru list per cpu", kPercpuHash, 4, 4, 1, BPF_F_NO_COMMON_LRU, 0, 0, EINVAL},

    {"lru hash", kLruHash, 1, 1, 1, 0, 0, 0, 0},
    {"lru hash no entries", kLruHash, 4, 4, 0, 0, 0, 0, EINVAL},
    {"lru hash key 0", kLruHash, 0, 4, 1, 0, 0, 0, EINVAL},
    {"lru hash value 0", kLruHash, 4, 0, 1, 0, 0, 0, EINVAL},
    {"lru hash no prealloc", kLruHash, 4, 4, 1, BPF_F_NO_PREALLOC, 0, 0, kNotSupportedError},
    {"lru hash no prealloc, before sizes", kLruHash, 0, 0, 0, BPF_F_NO_PREALLOC, 0, 0, kNotSupportedError},
    {"lru hash list per cpu", kLruHash, 4, 4, 1, BPF_F_NO_COMMON_LRU, 0, 0, 0},
    {"lru hash list per cpu, as needed", kLruHash, 4, 4, 1, BPF_F_NO_COMMON_LRU | BPF_F_NO_PREALLOC, 0, 0,
     kNotSupportedError},
    {"lru hash zero seed", kLruHash, 4, 4, 1, BPF_F_ZERO_SEED, 0, 0, 0},
    {"lru hash mmapable", kLruHash, 4, 4, 1, BPF_F_MMAPABLE, 0, 0, EINVAL},
    {"lru hash program reads", kLruHash, 4, 4, 1, BPF_F_RDONLY_PROG, 0, 0, 0},
    {"lru hash program neither", kLruHash, 4, 4, 1, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG, 0, 0, EINVAL},
    {"lru hash largest", kLruHash, 4, 4194251, 1, 0, 0, 0, 0},
    {"lru hash too large", kLruHash, 4, 4194252, 1, 0, 0, 0, E2BIG},
    {"lru hash too many buckets", kLruHash, 4, 4, (1U << 27) + 1, 0, 0, 0, E2BIG},
    {"lru hash most entries, list per cpu", kLruHash, 4, 4, 0xffffffff, BPF_F_NO_COMMON_LRU, 0, 0, E2BIG},
    {"lru hash on node 0", kLruHash, 4, 4, 1, BPF_F_NUMA_NODE, 0, 0, 0},
    {"lru hash list per cpu on node 0", kLruHash, 4, 4, 1, BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE, 0, 0,
     EINVAL},
    {"lru hash list per cpu on no node", kLruHash, 4, 4, 1, BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE, 0xffffffff,
     0, 0},

    {"lru percpu hash", kLruPercpuHash, 4, 4, 1, 0, 0, 0, 0},
    {"lru percpu hash no prealloc", kLruPercpuHash, 4, 4, 1, BPF_F_NO_PREALLOC, 0, 0, kNotSupportedError},
    {"lru percpu hash list per cpu", kLruPercpuHash, 4, 4, 1, BPF_F_NO_COMMON_LRU, 0, 0, 0},
    {"lru percpu hash on node 0", kLruPercpuHash, 4, 4, 1, BPF_F_NUMA_NODE, 0, 0, EINVAL},
    {"lru percpu hash 32 KiB", kLruPercpuHash, 4, 32768, 1, 0, 0, 0, 0},
    {"lru percpu hash over 32 KiB", kLruPercpuHash, 4, 32769, 1, 0, 0, 0, E2BIG},
};

MapSpec spec_of(const Case& row) {
  MapSpec spec = make_spec(row.type, row.key_size, row.value_size, row.max_entries, row.flags);
  spec.numa_node = row.numa_node;
  spec.map_extra = row.map_extra;
  return spec;
}

TEST_F(MapTest, AttributesAreJudgedAsTheKernelDoes) {
  for (const Case& row : kCases) {
    const auto made = create_map(spec_of(row), environment_);
    EXPECT_EQ(made ? 0 : made.error().code, row.error) << row.what;
    EXPECT_TRUE(made || !made.error().message.empty()) << row.what;
  }
}

int create_on_host(const Case& row) {
  union bpf_attr attributes{};
  attributes.map_type = row.type;
  attributes.key_size = row.key_size;
  attributes.value_size = row.value_size;
  attributes.max_entries = row.max_entries;
  attributes.map_flags = row.flags;
  attributes.numa_node = row.numa_node;
  attributes.map_extra = row.map_extra;
  const long descriptor = syscall(__NR_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
  if (descriptor < 0) return errno;
  close(static_cast<int>(descriptor));
  return 0;
}

// Holds the table itself against a kernel, where one answers. The limit on per-CPU values came with 6.12.
TEST(MapAttributes, TheHostKernelAgrees) {
  utsname name{};
  int major = 0;
  int minor = 0;
  if (uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2 || major < 6 ||
      (major == 6 && minor < 12)) {
    GTEST_SKIP() << "needs Linux 6.12";
  }
  if (create_on_host({"probe", kArray, 4, 4, 1, 0, 0, 0, 0}) != 0)
    GTEST_SKIP() << "bpf(2) is not allowed here";
  for (const Case& row : kCases) EXPECT_EQ(create_on_host(row), row.error) << row.what;
}

TEST_F(MapTest, AHugeArrayCommitsNothing) {
  // 256 Mi elements of 8 bytes: 2 GiB that nobody touches.
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1U << 28);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  const uint32_t last = (1U << 28) - 1;
  auto* value = static_cast<uint64_t*>(map->lookup(&last, 0));
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(*value, 0U);
  *value = 7;
  uint64_t read = 0;
  EXPECT_EQ(map->read(&last, &read, 0), 0);
  EXPECT_EQ(read, 7U);
}

TEST_F(MapTest, AHugePreallocatedHashCommitsNothing) {
  const auto map = create(BPF_MAP_TYPE_HASH, 4, 8, 1U << 24);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  const uint32_t key = 5;
  const uint64_t value = 6;
  EXPECT_EQ(map->update(&key, &value, BPF_ANY, 0), 0);
  EXPECT_NE(map->lookup(&key, 0), nullptr);
}

}  // namespace
}  // namespace skep::maps
