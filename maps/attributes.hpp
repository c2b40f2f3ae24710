#pragma once

#include <cstdint>
#include <expected>

#include "maps/map.hpp"
#include "skep/error.hpp"

namespace skep::maps {

// What the kernel's checks of map attributes have in common. Sources: kernel/bpf/syscall.c map_create(),
// arraymap.c array_map_alloc_check() and fd_array_map_alloc_check(), hashtab.c htab_map_alloc_check().

// ENOTSUPP: not in errno.h, but what the kernel returns for a command that a map type lacks.
inline constexpr int kNotSupported = 524;

// The largest value of a per-CPU map, rounded up to 8: PCPU_MIN_UNIT_SIZE.
inline constexpr uint32_t kMaxPerCpuValue = 32 << 10;

// KMALLOC_MAX_SIZE: the largest value that user space can be given in one piece.
inline constexpr uint32_t kMaxAllocation = 4 << 20;

// The flags that restrict access: BPF_F_ACCESS_MASK.
inline constexpr uint32_t kAccessFlags = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

// No particular memory node; what a map has without BPF_F_NUMA_NODE.
inline constexpr uint32_t kNoNode = UINT32_MAX;
uint32_t numa_node(const MapSpec& spec);

// The checks of map_create(), which hold for every type.
Result<void> check_common(const MapSpec& spec);
// The checks of an array's attributes.
Result<void> check_array(const MapSpec& spec, bool per_cpu);

// The checks of a hash table's attributes.
struct HashKind {
  bool per_cpu = false;
  bool lru = false;
};
Result<void> check_hash(const MapSpec& spec, const HashKind& kind);
// The buckets of a hash table.
uint64_t hash_buckets(uint32_t max_entries);

// Flags of a user-space read: only BPF_F_LOCK is known, and that for values with a lock.
int check_read_flags(uint64_t flags);  // where no value has one
int check_read_flags(const MapSpec& spec, uint64_t flags);

}  // namespace skep::maps
