#include "maps/keyless_map.hpp"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "maps/attributes.hpp"

namespace skep::maps {

KeylessMap::KeylessMap(const MapSpec& spec, const MapEnvironment& environment, uint64_t first_spare)
    : Map(spec, environment), spares_(environment.cpus, first_spare) {}

Result<void> KeylessMap::check(const MapSpec& spec) {
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size != 0)
    return fail(EINVAL, fmt::format("key_size is {}, there are no keys", spec.key_size));
  if (spec.value_size == 0) return fail(EINVAL, "value_size is 0");
  const uint32_t unknown = spec.flags & ~(BPF_F_NUMA_NODE | kAccessFlags);
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  if (spec.value_size > kMaxAllocation)
    return fail(E2BIG, fmt::format("value_size {} is too large", spec.value_size));
  if (spec.max_entries >= std::numeric_limits<uint32_t>::max() / spec.value_size)
    return fail(E2BIG, fmt::format("{} values of {} bytes are too many", spec.max_entries, spec.value_size));
  return {};
}

uint64_t KeylessMap::ring_size(const MapSpec& spec) { return std::bit_ceil(uint64_t{spec.max_entries} + 1); }

int KeylessMap::empty(void* value) const {
  std::memset(value, 0, spec().value_size);
  return -ENOENT;
}

int KeylessMap::update(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/, unsigned /*cpu*/) {
  return -EINVAL;
}
int KeylessMap::erase(const void* /*key*/) { return -EINVAL; }
int KeylessMap::next_key(const void* /*key*/, void* /*next*/) { return -EINVAL; }

int KeylessMap::read(const void* /*key*/, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  return peek(value);
}

int KeylessMap::write(const void* /*key*/, const void* value, uint64_t flags) {
  return push_from(spares_.of_task(), value, flags);
}

int KeylessMap::read_and_erase(const void* /*key*/, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  return pop_from(spares_.of_task(), value);
}

int KeylessMap::push(const void* value, uint64_t flags, unsigned cpu) {
  return push_from(spares_.of_cpu(cpu), value, flags);
}

int KeylessMap::pop(void* value, unsigned cpu) { return pop_from(spares_.of_cpu(cpu), value); }

int KeylessMap::push_from(SpareNodes::Claim spare, const void* value, uint64_t flags) {
  if (flags != BPF_ANY && flags != BPF_EXIST) return -EINVAL;
  return spare ? push_node(value, flags == BPF_EXIST, spare) : -EBUSY;
}

int KeylessMap::pop_from(SpareNodes::Claim spare, void* value) {
  return spare ? pop_node(value, spare) : -EBUSY;
}

}  // namespace skep::maps
