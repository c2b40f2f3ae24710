#include "maps/cpu_map.hpp"

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

}  // namespace

// cpu_map_alloc
Result<std::shared_ptr<Map>> CpuMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size != 4) return fail(EINVAL, fmt::format("key_size is {}, a CPU map's is 4", spec.key_size));
  if (spec.value_size != 4 && spec.value_size != 8)
    return fail(EINVAL, fmt::format("value_size is {}, a CPU map's is 4 (a queue size) or 8 (struct "
                                    "bpf_cpumap_val)",
                                    spec.value_size));
  const uint32_t unknown = spec.flags & ~uint32_t{BPF_F_NUMA_NODE};
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  if (spec.max_entries > kMaxCpus)
    return fail(E2BIG, fmt::format("max_entries {} is over {}", spec.max_entries, kMaxCpus));
  auto map = std::make_shared<CpuMap>(spec, environment);
  if (!map->slots_.valid()) return fail(ENOMEM, "there is no memory for the map");
  return map;
}

CpuMap::CpuMap(const MapSpec& spec, const MapEnvironment& environment)
    : Map(spec, environment),
      store_(*environment.epochs, spec.value_size),
      slots_(store_, spec.max_entries) {}

// cpu_map_delete_elem: whether there was an element is not said.
int CpuMap::erase(const void* key) {
  if (key_of(key) >= spec().max_entries) return -EINVAL;
  slots_.set(key_of(key), nullptr);
  return 0;
}

int CpuMap::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  const TargetEntry* found = slots_.at(key_of(key));
  if (found == nullptr) return -ENOENT;
  std::memcpy(value, found->value, spec().value_size);
  return 0;
}

int CpuMap::write(const void* key, const void* value, uint64_t flags) {
  return write_entry(key, value, flags, [](int) -> Result<std::shared_ptr<Object>> {
    return fail(EINVAL, "a descriptor means nothing here");
  });
}

int CpuMap::next_key(const void* key, void* next) { return next_index(key, spec().max_entries, next); }

// cpu_map_update_elem: a queue size of 0 empties the slot. Whatever is wrong with the program, the kernel
// says that there was no memory for the element.
int CpuMap::write_entry(const void* key, const void* value, uint64_t flags,
                        const ProgramFinder& find_program) {
  const uint32_t cpu = key_of(key);
  const TargetValue wanted = read_target_value(value, spec().value_size);
  if (flags > BPF_EXIST) return -EINVAL;
  if (cpu >= spec().max_entries) return -E2BIG;
  if (flags == BPF_NOEXIST) return -EEXIST;
  if (wanted.number > kMaxQueue) return -EOVERFLOW;
  if (cpu >= cpus()) return -ENODEV;
  std::unique_ptr<TargetEntry> made;
  if (wanted.number != 0) {
    std::shared_ptr<Object> program;
    if (wanted.program > 0) {
      auto found = find_program(wanted.program);
      if (!found) return -ENOMEM;
      program = std::move(*found);
    }
    made = store_.make(cpu, wanted, std::move(program));
    if (made == nullptr) return -ENOMEM;
    made->index = cpu;
  }
  slots_.set(cpu, std::move(made));
  return 0;
}

}  // namespace skep::maps
