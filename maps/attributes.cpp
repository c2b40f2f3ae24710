#include "maps/attributes.hpp"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <climits>

#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

// The kernel's limits, which user space sees as E2BIG: KMALLOC_MAX_SIZE less its element header for key and
// value together, and a table of buckets of 16 bytes under 4 GiB.
constexpr uint64_t kMaxKeyAndValue = kMaxAllocation - 48;
constexpr uint32_t kMaxBuckets = UINT32_MAX / 16;

}  // namespace

uint32_t numa_node(const MapSpec& spec) {
  return (spec.flags & BPF_F_NUMA_NODE) != 0 ? spec.numa_node : kNoNode;
}

Result<void> check_common(const MapSpec& spec) {
  if (spec.map_extra != 0 && spec.type != BPF_MAP_TYPE_BLOOM_FILTER)
    return fail(EINVAL, "map_extra is for bloom filters and arenas only");
  if ((spec.flags & BPF_F_RDONLY) != 0 && (spec.flags & BPF_F_WRONLY) != 0) {
    return fail(EINVAL, "BPF_F_RDONLY and BPF_F_WRONLY exclude each other");
  }
  // The simulated machine has one memory node, 0.
  const uint32_t node = numa_node(spec);
  if (node != kNoNode && node != 0) return fail(EINVAL, fmt::format("there is no memory node {}", node));
  if ((spec.flags & BPF_F_RDONLY_PROG) != 0 && (spec.flags & BPF_F_WRONLY_PROG) != 0) {
    return fail(EINVAL, "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other");
  }
  return {};
}

Result<void> check_array(const MapSpec& spec, bool per_cpu) {
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size != 4) return fail(EINVAL, fmt::format("key_size is {}, an array's is 4", spec.key_size));
  if (spec.value_size == 0) return fail(EINVAL, "value_size is 0");
  uint32_t known = BPF_F_NUMA_NODE | kAccessFlags;
  if (spec.type == BPF_MAP_TYPE_ARRAY) known |= BPF_F_MMAPABLE | BPF_F_INNER_MAP;
  if (spec.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY) known |= BPF_F_PRESERVE_ELEMS;
  if ((spec.flags & ~known) != 0) {
    return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", spec.flags & ~known));
  }
  if (per_cpu && numa_node(spec) != kNoNode) return fail(EINVAL, "a per-CPU map has no single memory node");
  if (spec.value_size > INT_MAX)
    return fail(E2BIG, fmt::format("value_size {} is too large", spec.value_size));
  if (per_cpu && round_up_8(spec.value_size) > kMaxPerCpuValue) {
    return fail(E2BIG, fmt::format("value_size {} is over the {} of a per-CPU value", spec.value_size,
                                   kMaxPerCpuValue));
  }
  return {};
}

uint64_t hash_buckets(uint32_t max_entries) { return std::bit_ceil(uint64_t{max_entries}); }

Result<void> check_hash(const MapSpec& spec, const HashKind& kind) {
  constexpr uint32_t kKnown =
      BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | kAccessFlags;
  if ((spec.flags & ~kKnown) != 0) {
    return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", spec.flags & ~kKnown));
  }
  const bool list_per_cpu = (spec.flags & BPF_F_NO_COMMON_LRU) != 0;
  if (list_per_cpu && !kind.lru) return fail(EINVAL, "BPF_F_NO_COMMON_LRU is for LRU maps");
  if (kind.lru && (spec.flags & BPF_F_NO_PREALLOC) != 0)
    return fail(kNotSupported, "an LRU map is always pre-allocated");
  if (numa_node(spec) != kNoNode && (kind.per_cpu || list_per_cpu))
    return fail(EINVAL, "a per-CPU map has no single memory node");
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size == 0) return fail(EINVAL, "key_size is 0");
  if (spec.value_size == 0) return fail(EINVAL, "value_size is 0");
  if (uint64_t{spec.key_size} + spec.value_size >= kMaxKeyAndValue) {
    return fail(E2BIG, fmt::format("key_size and value_size together reach {}", kMaxKeyAndValue));
  }
  if (kind.per_cpu && round_up_8(spec.value_size) > kMaxPerCpuValue) {
    return fail(E2BIG, fmt::format("value_size {} is over the {} of a per-CPU value", spec.value_size,
                                   kMaxPerCpuValue));
  }
  if (hash_buckets(spec.max_entries) > kMaxBuckets)
    return fail(E2BIG, "max_entries asks for too many buckets");
  return {};
}

int check_read_flags(uint64_t flags) {
  // Unknown flags and a lock that the value does not have get the same answer.
  return flags == 0 ? 0 : -EINVAL;
}

int check_read_flags(const MapSpec& spec, uint64_t flags) {
  return check_read_flags(spec.fields.has(FieldKind::kSpinLock) ? flags & ~uint64_t{BPF_F_LOCK} : flags);
}

}  // namespace skep::maps
