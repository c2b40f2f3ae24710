#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "maps/array_map.hpp"
#include "maps/attributes.hpp"
#include "maps/bloom_filter.hpp"
#include "maps/cgroup_array.hpp"
#include "maps/cpu_map.hpp"
#include "maps/dev_map.hpp"
#include "maps/hash_map.hpp"
#include "maps/hash_of_maps.hpp"
#include "maps/local_storage.hpp"
#include "maps/lpm_trie.hpp"
#include "maps/lru_hash_map.hpp"
#include "maps/map.hpp"
#include "maps/map_in_map.hpp"
#include "maps/object_array.hpp"
#include "maps/perf_event_array.hpp"
#include "maps/queue_map.hpp"
#include "maps/ring_buffer.hpp"
#include "maps/sock_hash.hpp"
#include "maps/sock_map.hpp"
#include "maps/stack_map.hpp"
#include "maps/stack_trace_map.hpp"
#include "maps/user_ring_buffer.hpp"
#include "maps/xsk_map.hpp"

namespace skep::maps {

namespace {

// Those of the types that have elements and nothing of their own.
constexpr int kElementHelpers[] = {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem,
                                   BPF_FUNC_map_delete_elem, BPF_FUNC_for_each_map_elem, BPF_FUNC_timer_init};
constexpr int kPerCpuHelpers[] = {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem,
                                  BPF_FUNC_map_delete_elem, BPF_FUNC_for_each_map_elem,
                                  BPF_FUNC_map_lookup_percpu_elem};
constexpr int kProgramArrayHelpers[] = {BPF_FUNC_tail_call};
constexpr int kRedirectHelpers[] = {BPF_FUNC_redirect_map, BPF_FUNC_map_lookup_elem};
constexpr int kCpuMapHelpers[] = {BPF_FUNC_redirect_map};

constexpr int kKeylessHelpers[] = {BPF_FUNC_map_push_elem, BPF_FUNC_map_pop_elem, BPF_FUNC_map_peek_elem};

constexpr int kBloomFilterHelpers[] = {BPF_FUNC_map_push_elem, BPF_FUNC_map_peek_elem};

constexpr int kTrieHelpers[] = {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem};
constexpr int kPerfEventHelpers[] = {BPF_FUNC_perf_event_read, BPF_FUNC_perf_event_output,
                                     BPF_FUNC_skb_output, BPF_FUNC_perf_event_read_value,
                                     BPF_FUNC_xdp_output};
constexpr int kRingHelpers[] = {BPF_FUNC_ringbuf_output, BPF_FUNC_ringbuf_reserve, BPF_FUNC_ringbuf_query,
                                BPF_FUNC_ringbuf_reserve_dynptr};
constexpr int kUserRingHelpers[] = {BPF_FUNC_user_ringbuf_drain};

constexpr int kCgroupHelpers[] = {BPF_FUNC_skb_under_cgroup, BPF_FUNC_current_task_under_cgroup};
// Those of bpf_map_lookup_elem and of updates are not: no program gets a socket from a map.
constexpr int kSockMapHelpers[] = {BPF_FUNC_sk_redirect_map, BPF_FUNC_sock_map_update,
                                   BPF_FUNC_msg_redirect_map, BPF_FUNC_sk_select_reuseport};
constexpr int kSockHashHelpers[] = {BPF_FUNC_sk_redirect_hash, BPF_FUNC_sock_hash_update,
                                    BPF_FUNC_msg_redirect_hash, BPF_FUNC_sk_select_reuseport};
constexpr int kStackTraceHelpers[] = {BPF_FUNC_get_stackid};

constexpr int kMapsHelpers[] = {BPF_FUNC_map_lookup_elem};

constexpr int kSocketStorageHelpers[] = {BPF_FUNC_sk_storage_get, BPF_FUNC_sk_storage_delete,
                                         BPF_FUNC_kptr_xchg};
constexpr int kTaskStorageHelpers[] = {BPF_FUNC_task_storage_get, BPF_FUNC_task_storage_delete,
                                       BPF_FUNC_kptr_xchg};
// No program that skep runs gets pointers to inodes or cgroups, so there are no helpers that take these.
constexpr int kUserStorageHelpers[] = {BPF_FUNC_kptr_xchg};

// What values may hold: one element's own, one's that may go at any time, and what a per-CPU value may hold
// too.
constexpr FieldKinds kElementFields{
    FieldKind::kSpinLock,         FieldKind::kTimer,         FieldKind::kWorkQueue, FieldKind::kPointer,
    FieldKind::kUntrustedPointer, FieldKind::kPerCpuPointer, FieldKind::kListHead,  FieldKind::kTreeRoot,
    FieldKind::kRefcount};
constexpr FieldKinds kLruFields{
    FieldKind::kTimer,         FieldKind::kWorkQueue, FieldKind::kPointer,  FieldKind::kUntrustedPointer,
    FieldKind::kPerCpuPointer, FieldKind::kListHead,  FieldKind::kTreeRoot, FieldKind::kRefcount};
constexpr FieldKinds kPerCpuFields{FieldKind::kPointer, FieldKind::kUntrustedPointer,
                                   FieldKind::kPerCpuPointer, FieldKind::kRefcount};

constexpr FieldKinds kStorageFields{FieldKind::kSpinLock, FieldKind::kPointer, FieldKind::kUntrustedPointer,
                                    FieldKind::kPerCpuPointer, FieldKind::kRefcount};

constexpr auto kTypes = std::to_array<MapTypeRow>({
    {BPF_MAP_TYPE_HASH, "hash", false, ValueKind::kPlain, HashMap::create, kElementHelpers, kElementFields},
    {BPF_MAP_TYPE_ARRAY, "array", false, ValueKind::kPlain, ArrayMap::create, kElementHelpers,
     kElementFields},
    {BPF_MAP_TYPE_PROG_ARRAY, "prog_array", false, ValueKind::kProgram, ObjectArray::create,
     kProgramArrayHelpers},
    {BPF_MAP_TYPE_PERF_EVENT_ARRAY, "perf_event_array", false, ValueKind::kPerfEvent, PerfEventArray::create,
     kPerfEventHelpers},
    {BPF_MAP_TYPE_PERCPU_HASH, "percpu_hash", true, ValueKind::kPlain, PerCpuHashMap::create, kPerCpuHelpers,
     kPerCpuFields},
    {BPF_MAP_TYPE_PERCPU_ARRAY, "percpu_array", true, ValueKind::kPlain, PerCpuArrayMap::create,
     kPerCpuHelpers, kPerCpuFields},
    {BPF_MAP_TYPE_LRU_HASH, "lru_hash", false, ValueKind::kPlain, LruHashMap::create, kElementHelpers,
     kLruFields},
    {BPF_MAP_TYPE_LRU_PERCPU_HASH, "lru_percpu_hash", true, ValueKind::kPlain, LruPerCpuHashMap::create,
     kPerCpuHelpers, kPerCpuFields},
    {BPF_MAP_TYPE_STACK_TRACE, "stack_trace", false, ValueKind::kPlain, StackTraceMap::create,
     kStackTraceHelpers},
    {BPF_MAP_TYPE_CGROUP_ARRAY, "cgroup_array", false, ValueKind::kCgroup, CgroupArray::create,
     kCgroupHelpers},
    {BPF_MAP_TYPE_ARRAY_OF_MAPS, "array_of_maps", false, ValueKind::kMap, ArrayOfMaps::create, kMapsHelpers},
    {BPF_MAP_TYPE_HASH_OF_MAPS, "hash_of_maps", false, ValueKind::kMap, HashOfMaps::create, kMapsHelpers},
    {BPF_MAP_TYPE_LPM_TRIE, "lpm_trie", false, ValueKind::kPlain, LpmTrie::create, kTrieHelpers},
    {BPF_MAP_TYPE_QUEUE, "queue", false, ValueKind::kPlain, QueueMap::create, kKeylessHelpers},
    {BPF_MAP_TYPE_BLOOM_FILTER, "bloom_filter", false, ValueKind::kPlain, BloomFilter::create,
     kBloomFilterHelpers},
    {BPF_MAP_TYPE_STACK, "stack", false, ValueKind::kPlain, StackMap::create, kKeylessHelpers},
    {BPF_MAP_TYPE_DEVMAP, "devmap", false, ValueKind::kPlain, DevMap::create, kRedirectHelpers},
    {BPF_MAP_TYPE_SOCKMAP, "sockmap", false, ValueKind::kPlain, SockMap::create, kSockMapHelpers},
    {BPF_MAP_TYPE_SOCKHASH, "sockhash", false, ValueKind::kPlain, SockHash::create, kSockHashHelpers},
    {BPF_MAP_TYPE_CPUMAP, "cpumap", false, ValueKind::kPlain, CpuMap::create, kCpuMapHelpers},
    {BPF_MAP_TYPE_XSKMAP, "xskmap", false, ValueKind::kPlain, XskMap::create, kRedirectHelpers},
    {BPF_MAP_TYPE_DEVMAP_HASH, "devmap_hash", false, ValueKind::kPlain, DevHashMap::create, kRedirectHelpers},
    {BPF_MAP_TYPE_RINGBUF, "ringbuf", false, ValueKind::kPlain, RingBufferMap::create, kRingHelpers},
    {BPF_MAP_TYPE_USER_RINGBUF, "user_ringbuf", false, ValueKind::kPlain, UserRingBufferMap::create,
     kUserRingHelpers},
    {BPF_MAP_TYPE_SK_STORAGE, "sk_storage", false, ValueKind::kPlain,
     LocalStorageMap::create<HostKind::kSocket>, kSocketStorageHelpers, kStorageFields, true},
    {BPF_MAP_TYPE_INODE_STORAGE, "inode_storage", false, ValueKind::kPlain,
     LocalStorageMap::create<HostKind::kInode>, kUserStorageHelpers, kStorageFields, true},
    {BPF_MAP_TYPE_TASK_STORAGE, "task_storage", false, ValueKind::kPlain,
     LocalStorageMap::create<HostKind::kTask>, kTaskStorageHelpers, kStorageFields, true},
    {kCgroupStorage, "cgrp_storage", false, ValueKind::kPlain, LocalStorageMap::create<HostKind::kCgroup>,
     kUserStorageHelpers, kStorageFields, true},
});

}  // namespace

std::span<const MapTypeRow> map_types() { return kTypes; }

const MapTypeRow* find_map_type(uint32_t type) {
  const auto* row = std::ranges::find(kTypes, type, &MapTypeRow::type);
  return row == kTypes.end() ? nullptr : row;
}

const MapTypeRow* find_map_type(const char* name) {
  const auto* row = std::ranges::find(kTypes, std::string_view(name), &MapTypeRow::name);
  return row == kTypes.end() ? nullptr : row;
}

bool admits_helper(const Map& map, uint32_t helper) {
  const MapTypeRow* row = find_map_type(map.spec().type);
  return row != nullptr && std::ranges::find(row->helpers, static_cast<int>(helper)) != row->helpers.end();
}

Result<std::shared_ptr<Map>> create_map(const MapSpec& spec, const MapEnvironment& environment) {
  const MapTypeRow* row = find_map_type(spec.type);
  if (row == nullptr) return fail(EINVAL, fmt::format("there is no map type {}", spec.type));
  if (auto checked = check_common(spec); !checked) return std::unexpected(checked.error());
  return row->create(spec, environment);
}

}  // namespace skep::maps
