#include "maps/lru_hash_map.hpp"

#include <cerrno>

#include "maps/attributes.hpp"
#include "maps/lru_impl.hpp"
#include "maps/sized_lookup.hpp"

namespace skep::maps {

namespace {

bool has_list_per_cpu(const MapSpec& spec) { return (spec.flags & BPF_F_NO_COMMON_LRU) != 0; }

// Lists of CPUs have equally many elements, at least one.
MapSpec with_whole_lists(const MapSpec& spec, const MapEnvironment& environment) {
  MapSpec whole = spec;
  if (has_list_per_cpu(spec)) {
    const uint64_t cpus = environment.cpus;
    const uint64_t up = (spec.max_entries + cpus - 1) / cpus * cpus;
    whole.max_entries = static_cast<uint32_t>(up > UINT32_MAX ? up - cpus : up);
  }
  return whole;
}

uint64_t elements_of(const MapSpec& spec, const MapEnvironment& environment) {
  return spec.max_entries + Lru::spare_elements(environment.cpus, spec.max_entries, has_list_per_cpu(spec));
}

template <class Type>
Result<std::shared_ptr<Map>> create_lru(const MapSpec& asked, const MapEnvironment& environment,
                                        bool per_cpu) {
  const HashKind kind{.per_cpu = per_cpu, .lru = true};
  if (auto checked = check_hash(asked, kind); !checked) return std::unexpected(checked.error());
  const MapSpec spec = with_whole_lists(asked, environment);
  if (auto checked = check_hash(spec, kind); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<Type>(spec, environment);
  if (!map->has_memory()) return fail(ENOMEM, "there is no memory for the LRU hash table");
  return map;
}

}  // namespace

Result<std::shared_ptr<Map>> LruHashMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  return create_lru<LruHashMap>(spec, environment, false);
}

LruHashMap::LruHashMap(const MapSpec& spec, const MapEnvironment& environment)
    : SingleValueHash(spec, environment, elements_of(spec, environment), Lru::kPrefix),
      lru_(pool(), table(), environment.cpus, spec.key_size, spec.max_entries, has_list_per_cpu(spec)) {}

void* LruHashMap::found(Element* element, unsigned cpu) const {
  Lru::reference(element);
  return LruHashMap::program_value(element, cpu);
}

void* LruHashMap::lookup(const void* key, unsigned cpu) {
  Element* element = table().find(key);
  return element == nullptr ? nullptr : found(element, cpu);
}

Map::LookupFunction LruHashMap::lookup_function() const {
  return SizedLookup<LruHashMap>::function_for(spec().key_size);
}

int LruHashMap::put(const void* key, const void* value, uint64_t flags, ElementPool::Cache& cache) {
  if (flags > BPF_EXIST) return -EINVAL;
  return lru_.put(
      key, flags, cache, [&](Element* element) { fill(element, value); },
      [&](Element* element) {
        if (has_fields()) release(element);
      });
}

int LruHashMap::update(const void* key, const void* value, uint64_t flags, unsigned cpu) {
  return put(key, value, flags, pool().cache(cpu));
}

int LruHashMap::write(const void* key, const void* value, uint64_t flags) {
  ElementPool::TaskCache cache(pool());
  return put(key, value, flags, cache);
}

Result<std::shared_ptr<Map>> LruPerCpuHashMap::create(const MapSpec& spec,
                                                      const MapEnvironment& environment) {
  return create_lru<LruPerCpuHashMap>(spec, environment, true);
}

LruPerCpuHashMap::LruPerCpuHashMap(const MapSpec& spec, const MapEnvironment& environment)
    : PerCpuHash(spec, environment, elements_of(spec, environment), Lru::kPrefix),
      lru_(pool(), table(), environment.cpus, spec.key_size, spec.max_entries, has_list_per_cpu(spec)) {}

void* LruPerCpuHashMap::found(Element* element, unsigned cpu) const {
  Lru::reference(element);
  return LruPerCpuHashMap::program_value(element, cpu);
}

void* LruPerCpuHashMap::lookup(const void* key, unsigned cpu) {
  Element* element = table().find(key);
  return element == nullptr ? nullptr : found(element, cpu);
}

Map::LookupFunction LruPerCpuHashMap::lookup_function() const {
  return SizedLookup<LruPerCpuHashMap>::function_for(spec().key_size);
}

int LruPerCpuHashMap::update(const void* key, const void* value, uint64_t flags, unsigned cpu) {
  if (flags > BPF_EXIST) return -EINVAL;
  return lru_.put_in_place(
      key, flags, pool().cache(cpu), [&](Element* element) { change(element, value, cpu); },
      [&](Element* element) { fill(element, value, cpu); },
      [&](Element* element) {
        if (has_fields()) release(element);
      });
}

int LruPerCpuHashMap::write(const void* key, const void* value, uint64_t flags) {
  if (flags > BPF_EXIST) return -EINVAL;
  const auto copy_in = [&](Element* element) { change_all(element, value); };
  ElementPool::TaskCache cache(pool());
  return lru_.put_in_place(key, flags, cache, copy_in, copy_in, [&](Element* element) {
    if (has_fields()) release(element);
  });
}

}  // namespace skep::maps
