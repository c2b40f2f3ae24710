#include "maps/dev_map.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "maps/attributes.hpp"

namespace skep::maps {
namespace {

uint32_t key_of(const void* key) {
  uint32_t number = 0;
  std::memcpy(&number, key, sizeof number);
  return number;
}

// dev_map_alloc_check
Result<void> check(const MapSpec& spec) {
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size != 4)
    return fail(EINVAL, fmt::format("key_size is {}, a device map's is 4", spec.key_size));
  if (spec.value_size != 4 && spec.value_size != 8)
    return fail(EINVAL, fmt::format("value_size is {}, a device map's is 4 (an ifindex) or 8 (struct "
                                    "bpf_devmap_val)",
                                    spec.value_size));
  const uint32_t unknown = spec.flags & ~uint32_t{BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY};
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  return {};
}

// Programs read the map's values in place, so none may write to them.
MapSpec closed_to_programs(MapSpec spec) {
  spec.flags |= BPF_F_RDONLY_PROG;
  return spec;
}

}  // namespace

DeviceMapBase::DeviceMapBase(const MapSpec& spec, const MapEnvironment& environment)
    : Map(closed_to_programs(spec), environment),
      devices_(environment.devices),
      store_(*environment.epochs, spec.value_size) {}

int DeviceMapBase::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  const TargetEntry* found = entry(key_of(key));
  if (found == nullptr) return -ENOENT;
  std::memcpy(value, found->value, spec().value_size);
  return 0;
}

int DeviceMapBase::write(const void* key, const void* value, uint64_t flags) {
  return write_entry(key, value, flags, [](int) -> Result<std::shared_ptr<Object>> {
    return fail(EINVAL, "a descriptor means nothing here");
  });
}

void* DeviceMapBase::lookup(const void* key, unsigned /*cpu*/) {
  const TargetEntry* found = entry(key_of(key));
  return found == nullptr ? nullptr : found->value;
}

// __dev_map_alloc_node
int DeviceMapBase::make_entry(uint32_t key, const TargetValue& value, const ProgramFinder& find_program,
                              std::unique_ptr<TargetEntry>& made) {
  if (devices_ == nullptr || !devices_->has_device(value.number)) return -EINVAL;
  std::shared_ptr<Object> program;
  if (value.program > 0) {
    auto found = find_program(value.program);
    if (!found) return -EINVAL;
    program = std::move(*found);
  }
  made = store_.make(key, value, std::move(program));
  return made == nullptr ? -ENOMEM : 0;
}

Result<std::shared_ptr<Map>> DevMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto good = check(spec); !good) return std::unexpected(good.error());
  auto map = std::make_shared<DevMap>(spec, environment);
  if (!map->slots_.valid()) return fail(ENOMEM, "there is no memory for the map");
  return map;
}

DevMap::DevMap(const MapSpec& spec, const MapEnvironment& environment)
    : DeviceMapBase(spec, environment), slots_(store(), spec.max_entries) {}

// dev_map_delete_elem: whether there was an element is not said.
int DevMap::erase(const void* key) {
  if (key_of(key) >= spec().max_entries) return -EINVAL;
  slots_.set(key_of(key), nullptr);
  return 0;
}

int DevMap::next_key(const void* key, void* next) { return next_index(key, spec().max_entries, next); }

// __dev_map_update_elem: a device of 0 empties the slot.
int DevMap::write_entry(const void* key, const void* value, uint64_t flags,
                        const ProgramFinder& find_program) {
  const uint32_t index = key_of(key);
  if (flags > BPF_EXIST) return -EINVAL;
  if (index >= spec().max_entries) return -E2BIG;
  if (flags == BPF_NOEXIST) return -EEXIST;
  const TargetValue wanted = read_target_value(value, spec().value_size);
  std::unique_ptr<TargetEntry> made;
  if (wanted.number == 0) {
    if (wanted.program > 0) return -EINVAL;
  } else if (const int refused = make_entry(index, wanted, find_program, made)) {
    return refused;
  }
  slots_.set(index, std::move(made));
  return 0;
}

Result<std::shared_ptr<Map>> DevHashMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto good = check(spec); !good) return std::unexpected(good.error());
  if (spec.max_entries > 1U << 31)
    return fail(EINVAL, fmt::format("max_entries {} is over 2^31", spec.max_entries));
  auto map = std::make_shared<DevHashMap>(spec, environment);
  if (!map->table_.valid()) return fail(ENOMEM, "there is no memory for the map");
  return map;
}

DevHashMap::DevHashMap(const MapSpec& spec, const MapEnvironment& environment)
    : DeviceMapBase(spec, environment), table_(*environment.epochs, store(), spec.max_entries) {}

int DevHashMap::erase(const void* key) { return table_.erase(key_of(key)); }

int DevHashMap::next_key(const void* key, void* next) {
  const uint32_t current = key == nullptr ? 0 : key_of(key);
  uint32_t following = 0;
  if (const int none = table_.next(key == nullptr ? nullptr : &current, following)) return none;
  std::memcpy(next, &following, sizeof following);
  return 0;
}

// __dev_map_hash_update_elem: BPF_EXIST does not ask for the element to be there.
int DevHashMap::write_entry(const void* key, const void* value, uint64_t flags,
                            const ProgramFinder& find_program) {
  const TargetValue wanted = read_target_value(value, spec().value_size);
  if (flags > BPF_EXIST || wanted.number == 0) return -EINVAL;
  return table_.put(key_of(key), flags == BPF_NOEXIST, [&](std::unique_ptr<TargetEntry>& made) {
    return make_entry(key_of(key), wanted, find_program, made);
  });
}

}  // namespace skep::maps
