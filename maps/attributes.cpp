#include "maps/attributes.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <climits>

#include "maps/value_copy.hpp"

namespace skep::maps {

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

int check_read_flags(uint64_t flags) {
  // Unknown flags and a lock that the value does not have get the same answer.
  return flags == 0 ? 0 : -EINVAL;
}

int check_read_flags(const MapSpec& spec, uint64_t flags) {
  return check_read_flags(spec.fields.has(FieldKind::kSpinLock) ? flags & ~uint64_t{BPF_F_LOCK} : flags);
}

}  // namespace skep::maps
