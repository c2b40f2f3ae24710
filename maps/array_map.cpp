#include "maps/array_map.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/generic_batch.hpp"
#include "maps/map_in_map.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

// A CPU's part of a per-CPU array begins on a pair of cache lines of its own; hardware fetches them in pairs.
constexpr size_t kCpuAlignment = 128;

size_t cpu_stride(const MapSpec& spec) {
  const size_t bytes = size_t{spec.max_entries} * round_up_8(spec.value_size);
  return (bytes + kCpuAlignment - 1) / kCpuAlignment * kCpuAlignment;
}

// The value of `size` bytes that holds `address` in elements of `stride` bytes that begin at `begin`; empty
// if the address lies in the padding between two values.
MemoryRange value_in_row(uintptr_t begin, size_t stride, size_t size, uintptr_t address) {
  const uintptr_t value = begin + (address - begin) / stride * stride;
  if (address - value >= size) return {};
  return {value, size};
}

}  // namespace

ArrayBase::ArrayBase(const MapSpec& spec, const MapEnvironment& environment, Mapping storage)
    : Map(spec, environment), element_size_(round_up_8(spec.value_size)), storage_(std::move(storage)) {}

uint32_t ArrayBase::index_of(const void* key) {
  uint32_t index = 0;
  std::memcpy(&index, key, sizeof index);
  return index;
}

int ArrayBase::check_update(uint32_t index, uint64_t flags) const {
  if ((flags & ~uint64_t{BPF_F_LOCK}) > BPF_EXIST) return -EINVAL;
  if (!holds(index)) return -E2BIG;
  if ((flags & BPF_NOEXIST) != 0) return -EEXIST;
  if ((flags & BPF_F_LOCK) != 0 && !spec().fields.has(FieldKind::kSpinLock)) return -EINVAL;
  return 0;
}

void ArrayBase::copy_in(std::byte* to, const void* from, size_t bytes, uint64_t flags) const {
  const ValueFields& fields = spec().fields;
  if (fields.empty()) [[likely]]
    return copy_value_relaxed(to, from, bytes);
  if ((flags & BPF_F_LOCK) != 0)
    copy_locked(fields, to, from, bytes, to);
  else
    copy_between_fields(fields, to, from, bytes);
  release_fields(fields, to, timers());
}

void ArrayBase::copy_out(void* to, std::byte* from, size_t bytes, uint64_t flags) const {
  const ValueFields& fields = spec().fields;
  if (fields.empty()) [[likely]]
    return copy_value_relaxed(to, from, bytes);
  if ((flags & BPF_F_LOCK) != 0)
    copy_locked(fields, to, from, bytes, from);
  else
    copy_between_fields(fields, to, from, bytes);
  init_fields(fields, to);
}

int ArrayBase::erase(const void* /*key*/) { return -EINVAL; }

int ArrayBase::next_key(const void* key, void* next) {
  const uint32_t index = key == nullptr ? UINT32_MAX : index_of(key);
  uint32_t following = 0;
  if (holds(index)) {
    if (index == spec().max_entries - 1) return -ENOENT;
    following = index + 1;
  }
  std::memcpy(next, &following, sizeof following);
  return 0;
}

std::shared_ptr<const InnerTemplate> ArrayBase::as_inner() const {
  return std::make_shared<InnerTemplate>(InnerTemplate::of(spec(), (spec().flags & BPF_F_INNER_MAP) == 0));
}

int ArrayBase::read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count,
                          uint64_t flags, bool erase_read) {
  if (erase_read) return -kNotSupported;
  return read_batch_by_keys(*this, in, out, keys, values, count, flags);
}

Result<std::shared_ptr<Map>> ArrayMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check_array(spec, false); !checked) return std::unexpected(checked.error());
  const uint64_t bytes = uint64_t{spec.max_entries} * round_up_8(spec.value_size);
  // Values with fields are never mapped (bpf_map_mmap()).
  const bool mapped = (spec.flags & BPF_F_MMAPABLE) != 0 && spec.fields.empty();
  Mapping storage = mapped ? Mapping::memory_file(bytes, "bpf-map") : Mapping::anonymous(bytes);
  if (!storage) return fail(ENOMEM, "there is no memory for the array");
  return std::make_shared<ArrayMap>(spec, environment, std::move(storage));
}

ArrayMap::ArrayMap(const MapSpec& spec, const MapEnvironment& environment, Mapping storage)
    : ArrayBase(spec, environment, std::move(storage)) {}

void* ArrayMap::lookup(const void* key, unsigned /*cpu*/) {
  const uint32_t index = index_of(key);
  return holds(index) ? value_at(index) : nullptr;
}

int ArrayMap::update(const void* key, const void* value, uint64_t flags, unsigned /*cpu*/) {
  const uint32_t index = index_of(key);
  if (const int refused = check_update(index, flags)) return refused;
  copy_in(value_at(index), value, spec().value_size, flags);
  return 0;
}

Map::StepFunction ArrayMap::step_function() const {
  return [](Map& map, WalkPosition& position, unsigned /*cpu*/) noexcept -> WalkedElement {
    const auto& self = static_cast<const ArrayMap&>(map);
    position.key = position.next++;
    if (!self.holds(position.key)) return {};
    return {&position.key, self.value_at(static_cast<uint32_t>(position.key))};
  };
}

int ArrayMap::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(spec(), flags)) return refused;
  const uint32_t index = index_of(key);
  if (!holds(index)) return -ENOENT;
  copy_out(value, value_at(index), spec().value_size, flags);
  return 0;
}

int ArrayMap::write(const void* key, const void* value, uint64_t flags) {
  // The command refuses the lock before the map sees the key.
  if ((flags & BPF_F_LOCK) != 0 && !spec().fields.has(FieldKind::kSpinLock)) return -EINVAL;
  return update(key, value, flags, 0);
}

bool ArrayMap::key_of_value(const void* value, void* key) const {
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(value) - storage().data());
  const auto index = static_cast<uint32_t>(offset / element_size());
  std::memcpy(key, &index, sizeof index);
  return true;
}

void* ArrayMap::direct_value() { return spec().max_entries == 1 ? value_at(0) : nullptr; }

MemoryRange ArrayMap::value_containing(uintptr_t address) const {
  const auto begin = reinterpret_cast<uintptr_t>(storage().data());
  if (address < begin || address - begin >= element_size() * spec().max_entries) return {};
  return value_in_row(begin, element_size(), spec().value_size, address);
}

Result<std::shared_ptr<Map>> PerCpuArrayMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check_array(spec, true); !checked) return std::unexpected(checked.error());
  Mapping storage = Mapping::anonymous(cpu_stride(spec) * environment.cpus);
  if (!storage) return fail(ENOMEM, "there is no memory for the per-CPU array");
  return std::make_shared<PerCpuArrayMap>(spec, environment, std::move(storage));
}

PerCpuArrayMap::PerCpuArrayMap(const MapSpec& spec, const MapEnvironment& environment, Mapping storage)
    : ArrayBase(spec, environment, std::move(storage)), cpu_stride_(cpu_stride(spec)) {}

void* PerCpuArrayMap::lookup(const void* key, unsigned cpu) {
  const uint32_t index = index_of(key);
  return holds(index) ? value_at(index, cpu) : nullptr;
}

void* PerCpuArrayMap::lookup_percpu(const void* key, unsigned cpu) {
  return cpu < cpus() ? lookup(key, cpu) : nullptr;
}

int PerCpuArrayMap::update(const void* key, const void* value, uint64_t flags, unsigned cpu) {
  const uint32_t index = index_of(key);
  if (const int refused = check_update(index, flags)) return refused;
  copy_in(value_at(index, cpu), value, spec().value_size, flags);
  return 0;
}

Map::StepFunction PerCpuArrayMap::step_function() const {
  return [](Map& map, WalkPosition& position, unsigned cpu) noexcept -> WalkedElement {
    const auto& self = static_cast<const PerCpuArrayMap&>(map);
    position.key = position.next++;
    if (!self.holds(position.key)) return {};
    return {&position.key, self.value_at(static_cast<uint32_t>(position.key), cpu)};
  };
}

int PerCpuArrayMap::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(spec(), flags)) return refused;
  const uint32_t index = index_of(key);
  if (!holds(index)) return -ENOENT;
  auto* target = static_cast<std::byte*>(value);
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
    copy_out(target + cpu * element_size(), value_at(index, cpu), element_size(), 0);
  }
  return 0;
}

int PerCpuArrayMap::write(const void* key, const void* value, uint64_t flags) {
  if ((flags & BPF_F_LOCK) != 0) return -EINVAL;
  const uint32_t index = index_of(key);
  if (const int refused = check_update(index, flags)) return refused;
  // The padding is user space's to write and read back, though no program sees it.
  const auto* source = static_cast<const std::byte*>(value);
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
    copy_in(value_at(index, cpu), source + cpu * element_size(), element_size(), 0);
  }
  return 0;
}

MemoryRange PerCpuArrayMap::value_containing(uintptr_t address) const {
  const auto begin = reinterpret_cast<uintptr_t>(storage().data());
  if (address < begin || address - begin >= cpu_stride_ * cpus()) return {};
  const uintptr_t row = begin + (address - begin) / cpu_stride_ * cpu_stride_;
  if (address - row >= element_size() * spec().max_entries) return {};
  return value_in_row(row, element_size(), spec().value_size, address);
}

}  // namespace skep::maps
