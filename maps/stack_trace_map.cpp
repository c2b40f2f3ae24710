#include "maps/stack_trace_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/element_pool_impl.hpp"
#include "maps/epoch.hpp"
#include "maps/key_hash.hpp"

namespace skep::maps {
namespace {

uint32_t id_of(const void* key) {
  uint32_t id = 0;
  std::memcpy(&id, key, sizeof id);
  return id;
}

// stack_map_alloc
Result<void> check(const MapSpec& spec) {
  constexpr uint32_t kKnown = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_STACK_BUILD_ID;
  if ((spec.flags & ~kKnown) != 0)
    return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", spec.flags & ~kKnown));
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size != 4)
    return fail(EINVAL, fmt::format("key_size is {}, a stack's id has 4", spec.key_size));
  const bool build_ids = (spec.flags & BPF_F_STACK_BUILD_ID) != 0;
  const uint32_t place = build_ids ? sizeof(bpf_stack_build_id) : sizeof(uint64_t);
  if (spec.value_size == 0 || spec.value_size % place != 0)
    return fail(EINVAL, fmt::format("value_size is {}, no multiple of {}", spec.value_size, place));
  if (spec.value_size / place > kMaxStackDepth)
    return fail(EINVAL,
                fmt::format("value_size {} is for more than {} places", spec.value_size, kMaxStackDepth));
  if (spec.max_entries > 1U << 31) return fail(E2BIG, "max_entries is over 2^31");
  return {};
}

}  // namespace

static_assert(sizeof(std::atomic<Element*>) == sizeof(void*), "zeroed pages are empty buckets");

uint32_t max_stack_depth(uint32_t size, uint32_t element_size, uint64_t flags) {
  return std::min(size / element_size + static_cast<uint32_t>(flags & BPF_F_SKIP_FIELD_MASK), kMaxStackDepth);
}

void write_build_ids(std::span<const uint64_t> places, std::byte* to) {
  for (const uint64_t place : places) {
    bpf_stack_build_id element{};
    element.status = BPF_STACK_BUILD_ID_IP;
    element.ip = place;
    std::memcpy(to, &element, sizeof element);
    to += sizeof element;
  }
}

Result<std::shared_ptr<Map>> StackTraceMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check(spec); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<StackTraceMap>(spec, environment);
  if (!map->pool_.reserved() || !map->buckets_) return fail(ENOMEM, "there is no memory for the map");
  return map;
}

StackTraceMap::StackTraceMap(const MapSpec& spec, const MapEnvironment& environment)
    : Map(spec, environment),
      pool_(environment.epochs->clock(),
            {.key_size = sizeof(uint32_t),
             .value_size = static_cast<uint32_t>(sizeof(Header)) + spec.value_size},
            spec.max_entries),
      mask_(std::bit_ceil(spec.max_entries) - 1),
      buckets_(Mapping::anonymous((uint64_t{mask_} + 1) * sizeof(std::atomic<Element*>))) {}

uint32_t StackTraceMap::place_size() const {
  return with_build_ids() ? sizeof(bpf_stack_build_id) : sizeof(uint64_t);
}

bool StackTraceMap::holds(Element* element, uint32_t hash, std::span<const uint64_t> places) const {
  const Header& has = header(element);
  if (has.hash != hash || has.places != places.size()) return false;
  // Of a map with build ids the place is the last word of an element; the rest is the same for all.
  const size_t step = place_size();
  const std::byte* at = content(element) + step - sizeof(uint64_t);
  return std::ranges::all_of(places, [&](uint64_t place) {
    uint64_t kept = 0;
    std::memcpy(&kept, at, sizeof kept);
    at += step;
    return kept == place;
  });
}

// One element more, unless there are max_entries. Relaxed: nothing is passed on by the count.
bool StackTraceMap::take_count() {
  uint32_t count = count_.load(std::memory_order_relaxed);
  do {
    if (count >= spec().max_entries) return false;
  } while (!count_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed));
  return true;
}

long StackTraceMap::store(std::span<const uint64_t> chain, uint64_t flags, unsigned cpu) {
  constexpr uint64_t kKnown =
      BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_FAST_STACK_CMP | BPF_F_REUSE_STACKID;
  if ((flags & ~kKnown) != 0) return -EINVAL;
  const uint64_t skipped = flags & BPF_F_SKIP_FIELD_MASK;
  chain =
      chain.first(std::min<size_t>(chain.size(), max_stack_depth(spec().value_size, place_size(), flags)));
  if (chain.size() <= skipped) return -EFAULT;
  const auto places = chain.subspan(skipped);
  const uint32_t hash = hash_key(places.data(), places.size_bytes(), expand_seed(0));
  const uint32_t id = hash & mask_;
  // Acquire: pairs with the exchange that put it there.
  Element* const there = bucket(id).load(std::memory_order_acquire);
  if (there != nullptr) {
    if ((flags & BPF_F_FAST_STACK_CMP) != 0 && header(there).hash == hash) return id;
    if (holds(there, hash, places)) return id;
    if ((flags & BPF_F_REUSE_STACKID) == 0) return -EEXIST;
  }
  if (!take_count()) return -ENOMEM;
  ElementPool::Cache& cache = pool_.cache(cpu);
  Element* const made = pool_.acquire(cache);
  if (made == nullptr) {
    count_.fetch_sub(1, std::memory_order_relaxed);
    return -ENOMEM;
  }
  header(made) = {.hash = hash, .places = static_cast<uint32_t>(places.size())};
  std::memcpy(pool_.key(made), &id, sizeof id);
  if (with_build_ids())
    write_build_ids(places, content(made));
  else
    std::memcpy(content(made), places.data(), places.size_bytes());
  // Release: pairs with the acquires of those who read the bucket. Acquire: the old element, which we hand
  // on, was made by another thread.
  Element* const old = bucket(id).exchange(made, std::memory_order_acq_rel);
  if (old != nullptr) retire(old, cache);
  return id;
}

void StackTraceMap::retire(Element* element, ElementPool::Cache& cache) {
  pool_.retire(cache, element);
  count_.fetch_sub(1, std::memory_order_relaxed);
}

int StackTraceMap::update(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/, unsigned /*cpu*/) {
  return -EINVAL;
}
int StackTraceMap::write(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/) { return -EINVAL; }

int StackTraceMap::remove(const void* key, ElementPool::Cache& cache) {
  const uint32_t id = id_of(key);
  if (id > mask_) return -E2BIG;
  // Acquire: as in store().
  Element* const old = bucket(id).exchange(nullptr, std::memory_order_acq_rel);
  if (old == nullptr) return -ENOENT;
  retire(old, cache);
  return 0;
}

int StackTraceMap::erase(const void* key) {
  ElementPool::TaskCache cache(pool_);
  return remove(key, cache);
}

int StackTraceMap::erase_on(const void* key, unsigned cpu) { return remove(key, pool_.cache(cpu)); }

// bpf_stackmap_copy
int StackTraceMap::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  const uint32_t id = id_of(key);
  // Acquire: as in store().
  Element* const there = id > mask_ ? nullptr : bucket(id).load(std::memory_order_acquire);
  if (there == nullptr) return -ENOENT;
  const size_t bytes = size_t{header(there).places} * place_size();
  std::memcpy(value, content(there), bytes);
  std::memset(static_cast<std::byte*>(value) + bytes, 0, spec().value_size - bytes);
  return 0;
}

int StackTraceMap::next_key(const void* key, void* next) {
  // Relaxed: only whether there is something is asked.
  const auto used = [this](uint32_t id) { return bucket(id).load(std::memory_order_relaxed) != nullptr; };
  uint64_t id = 0;
  if (key != nullptr && id_of(key) <= mask_ && used(id_of(key))) id = uint64_t{id_of(key)} + 1;
  while (id <= mask_ && !used(static_cast<uint32_t>(id))) ++id;
  if (id > mask_) return -ENOENT;
  const auto found = static_cast<uint32_t>(id);
  std::memcpy(next, &found, sizeof found);
  return 0;
}

int StackTraceMap::clear() {
  // Relaxed: nobody else is there. An element that was never in a bucket has 0 for its key.
  pool_.clear([this](Element* element) {
    bucket(id_of(pool_.key(element)) & mask_).store(nullptr, std::memory_order_relaxed);
  });
  count_.store(0, std::memory_order_relaxed);
  return 0;
}

}  // namespace skep::maps
