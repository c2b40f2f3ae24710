#include "maps/hash_map.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/epoch.hpp"
#include "maps/hash_table_impl.hpp"
#include "maps/sized_lookup.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

// Elements that memory is reserved for: max_entries, and one per CPU as the kernel keeps them, so that a full
// map can be updated on all of them. Memory is committed when an element is first used. A map without
// pre-allocation has no claim to it, and is made without; but while the addresses are few it takes them too,
// since elements in one chunk are found fastest.
uint64_t reserved_elements(const MapSpec& spec, const MapEnvironment& environment, unsigned cpu_values) {
  constexpr uint64_t kFewAddresses = uint64_t{1} << 30;
  const uint64_t elements = uint64_t{spec.max_entries} + environment.cpus;
  if ((spec.flags & BPF_F_NO_PREALLOC) == 0) return elements;
  const uint64_t bytes = spec.key_size + round_up_8(spec.value_size) * std::max(cpu_values, 1U);
  return bytes * elements <= kFewAddresses ? elements : 0;
}

}  // namespace

HashMapBase::HashMapBase(const MapSpec& spec, const MapEnvironment& environment, unsigned cpu_values,
                         uint64_t elements, uint32_t prefix)
    : Map(spec, environment),
      has_fields_(!spec.fields.empty()),
      pool_(environment.epochs->clock(), {spec.key_size, spec.value_size, cpu_values, prefix}, elements),
      table_(pool_, environment.cpus, spec.key_size, spec.max_entries, hash_buckets(spec.max_entries),
             (spec.flags & BPF_F_ZERO_SEED) != 0 ? 0 : environment.hash_seed) {}

Element* HashMapBase::take_and_release(const void* key, ElementPool::Cache& cache) {
  Element* element = take(key, cache);
  if (has_fields_ && element != nullptr) release(element);
  return element;
}

int HashMapBase::erase(const void* key) {
  ElementPool::TaskCache cache(pool_);
  return take_and_release(key, cache) == nullptr ? -ENOENT : 0;
}

int HashMapBase::erase_on(const void* key, unsigned cpu) {
  return take_and_release(key, pool_.cache(cpu)) == nullptr ? -ENOENT : 0;
}

void HashMapBase::copy_around_fields(void* to, const void* from, size_t bytes) const {
  if (!has_fields_) [[likely]]
    return copy_value_relaxed(to, from, bytes);
  copy_between_fields(spec().fields, to, from, bytes);
}

void HashMapBase::release_value(void* value) const { release_fields(spec().fields, value, timers()); }

int HashMapBase::read_and_erase(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(spec(), flags)) return refused;
  ElementPool::TaskCache cache(pool_);
  Element* element = take_and_release(key, cache);
  if (element == nullptr) return -ENOENT;
  // Retired, but nobody gets it while we are inside the guard.
  copy_out(element, value, flags);
  return 0;
}

int HashMapBase::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(spec(), flags)) return refused;
  Element* element = table_.find(key);
  if (element == nullptr) return -ENOENT;
  copy_out(element, value, flags);
  return 0;
}

int HashMapBase::next_key(const void* key, void* next) {
  uint64_t bucket = 0;
  const Element* element = nullptr;
  if (key != nullptr) {
    // A key that is gone sends the caller back to the first one.
    if (const Element* current = table_.find(key)) {
      element = table_.after(current);
      bucket = table_.bucket_of(key) + 1;
    }
  }
  for (; element == nullptr && bucket < table_.buckets(); ++bucket) element = table_.first(bucket);
  if (element == nullptr) return -ENOENT;
  std::memcpy(next, pool_.key(element), spec().key_size);
  return 0;
}

// Copies one bucket and moves the pointers on. -ENOSPC, with nothing done, when there is no room for all of
// it.
int HashMapBase::read_bucket(uint64_t bucket, uint32_t room, std::byte*& keys, std::byte*& values,
                             uint32_t& copied, uint64_t flags, bool erase_read) {
  // Both walks begin at one element. What is put in comes before it, so the second finds no more than the
  // first.
  Element* const first = table_.first(bucket);
  uint32_t found = 0;
  for (const Element* element = first; element != nullptr; element = table_.after(element)) ++found;
  if (found > room) return -ENOSPC;
  ElementPool::TaskCache cache(pool_);
  for (Element* element = first; element != nullptr; element = table_.after(element)) {
    Element* read = element;
    // Of the key as it is now; it may be gone.
    if (erase_read) read = take_and_release(pool_.key(element), cache);
    if (read == nullptr) continue;
    std::memcpy(keys, pool_.key(read), spec().key_size);
    copy_out(read, values, flags);
    keys += spec().key_size;
    values += user_value_size();
    ++copied;
  }
  return 0;
}

int HashMapBase::read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count,
                            uint64_t flags, bool erase_read) {
  if (check_read_flags(spec(), flags) != 0) return -EINVAL;
  const uint32_t room = count;
  if (room == 0) return 0;
  count = 0;
  uint32_t bucket = 0;
  if (in != nullptr) std::memcpy(&bucket, in, sizeof bucket);
  // The kernel leaves the cursor alone when it is past the end already.
  if (bucket >= table_.buckets()) return -ENOENT;
  auto* next_slot = static_cast<std::byte*>(keys);
  auto* next_value = static_cast<std::byte*>(values);
  int result = -ENOENT;
  for (; bucket < table_.buckets(); ++bucket) {
    table_.prefetch_for(bucket);
    uint32_t copied = 0;
    result = read_bucket(bucket, room - count, next_slot, next_value, copied, flags, erase_read);
    if (result == -ENOSPC) {
      // Only a bucket that no call of this size can take is an error.
      if (count != 0) result = 0;
      break;
    }
    count += copied;
    result = -ENOENT;
  }
  std::memcpy(out, &bucket, sizeof bucket);
  return result;
}

inline Element* HashMapBase::next_element(WalkPosition& position) const {
  Element* element = nullptr;
  if (position.element != nullptr) element = table_.after(static_cast<Element*>(position.element));
  while (element == nullptr && position.next != table_.buckets()) {
    table_.prefetch_for(position.next);
    element = table_.first(position.next++);
  }
  position.element = element;
  return element;
}

int HashMapBase::clear() {
  if (timers() != nullptr && spec().fields.has(FieldKind::kTimer)) timers()->release_all(*this);
  clear_table();
  return 0;
}

MemoryRange HashMapBase::value_containing(uintptr_t address) const { return pool_.value_containing(address); }

void* SingleValueHash::program_value(Element* element, unsigned /*cpu*/) const {
  return pool().value(element);
}

Map::StepFunction SingleValueHash::step_function() const {
  return [](Map& map, WalkPosition& position, unsigned /*cpu*/) noexcept -> WalkedElement {
    const auto& self = static_cast<const SingleValueHash&>(map);
    Element* element = self.next_element(position);
    if (element == nullptr) return {};
    return {self.pool().key(element), self.pool().value(element)};
  };
}

void SingleValueHash::copy_out(Element* element, void* value, uint64_t flags) const {
  std::byte* from = pool().value(element);
  if ((flags & BPF_F_LOCK) != 0)
    copy_locked(spec().fields, value, from, spec().value_size, from);
  else
    copy_around_fields(value, from, spec().value_size);
  init_fields(spec().fields, value);
}

void SingleValueHash::release(Element* element) const { release_value(pool().value(element)); }

void SingleValueHash::fill(Element* element, const void* value) const {
  std::byte* to = pool().value(element);
  if (has_fields()) [[unlikely]] {
    // Whoever was still on the element after it went may have set up a timer in it since.
    release_value(to);
    init_fields(spec().fields, to);
  }
  copy_around_fields(to, value, spec().value_size);
}

bool SingleValueHash::key_of_value(const void* value, void* key) const {
  std::memcpy(key, pool().key_of_value(value), spec().key_size);
  return true;
}

Map::StepFunction PerCpuHash::step_function() const {
  return [](Map& map, WalkPosition& position, unsigned cpu) noexcept -> WalkedElement {
    const auto& self = static_cast<const PerCpuHash&>(map);
    Element* element = self.next_element(position);
    if (element == nullptr) return {};
    return {self.pool().key(element), self.pool().value(element, cpu)};
  };
}

void* PerCpuHash::lookup_percpu(const void* key, unsigned cpu) {
  return cpu < cpus() ? lookup(key, cpu) : nullptr;
}

void* PerCpuHash::program_value(Element* element, unsigned cpu) const { return pool().value(element, cpu); }

void PerCpuHash::copy_out(Element* element, void* value, uint64_t /*flags*/) const {
  auto* target = static_cast<std::byte*>(value);
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
    std::byte* to = target + cpu * pool().value_stride();
    copy_around_fields(to, pool().value(element, cpu), pool().value_stride());
    init_fields(spec().fields, to);
  }
}

void PerCpuHash::release(Element* element) const {
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) release_value(pool().value(element, cpu));
}

void PerCpuHash::change(Element* element, const void* value, unsigned cpu) const {
  copy_around_fields(pool().value(element, cpu), value, spec().value_size);
  if (has_fields()) release_value(pool().value(element, cpu));
}

void PerCpuHash::fill(Element* element, const void* value, unsigned cpu) const {
  // The other CPUs' values are zero, and so is the padding, which user space reads. Memory never used is so
  // already, and is better left untouched.
  for (unsigned each = 0; each < cpus() && !ElementPool::is_zero(element); ++each)
    std::memset(pool().value(element, each), 0, pool().value_stride());
  change(element, value, cpu);
}

void PerCpuHash::change_all(Element* element, const void* value) const {
  const auto* source = static_cast<const std::byte*>(value);
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
    copy_around_fields(pool().value(element, cpu), source + cpu * pool().value_stride(),
                       pool().value_stride());
  }
  if (has_fields()) release(element);
}

Result<std::shared_ptr<Map>> HashMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check_hash(spec, {}); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<HashMap>(spec, environment);
  if (!map->has_memory()) return fail(ENOMEM, "there is no memory for the hash table");
  return map;
}

HashMap::HashMap(const MapSpec& spec, const MapEnvironment& environment)
    : SingleValueHash(spec, environment, reserved_elements(spec, environment, 0)) {}

void* HashMap::lookup(const void* key, unsigned cpu) {
  Element* element = table().find(key);
  return element == nullptr ? nullptr : found(element, cpu);
}

Map::LookupFunction HashMap::lookup_function() const {
  return SizedLookup<HashMap>::function_for(spec().key_size);
}

int HashMap::put(const void* key, const void* value, uint64_t flags, ElementPool::Cache& cache) {
  if (has_fields()) [[unlikely]]
    return put_around_fields(key, value, flags, cache);
  // A lock is an unknown flag too: no value has one.
  if (flags > BPF_EXIST) return -EINVAL;
  return table().put(key, flags, cache, [&](Element* element) {
    copy_value_relaxed(pool().value(element), value, spec().value_size);
  });
}

int HashMap::put_around_fields(const void* key, const void* value, uint64_t flags,
                               ElementPool::Cache& cache) {
  const uint64_t presence = flags & ~uint64_t{BPF_F_LOCK};
  const bool locks = presence != flags;
  if (presence > BPF_EXIST || (locks && !spec().fields.has(FieldKind::kSpinLock))) return -EINVAL;
  const auto fill_in = [&](Element* element) { fill(element, value); };
  if (locks) {
    const auto change = [&](Element* element) {
      std::byte* to = pool().value(element);
      copy_locked(spec().fields, to, value, spec().value_size, to);
    };
    return table().put_in_place(key, presence, cache, change, fill_in);
  }
  return table().put(key, presence, cache, fill_in, [&](Element* replaced) { release(replaced); });
}

int HashMap::update(const void* key, const void* value, uint64_t flags, unsigned cpu) {
  return put(key, value, flags, pool().cache(cpu));
}

int HashMap::write(const void* key, const void* value, uint64_t flags) {
  ElementPool::TaskCache cache(pool());
  return put(key, value, flags, cache);
}

Result<std::shared_ptr<Map>> PerCpuHashMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check_hash(spec, {.per_cpu = true}); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<PerCpuHashMap>(spec, environment);
  if (!map->has_memory()) return fail(ENOMEM, "there is no memory for the per-CPU hash table");
  return map;
}

PerCpuHashMap::PerCpuHashMap(const MapSpec& spec, const MapEnvironment& environment)
    : PerCpuHash(spec, environment, reserved_elements(spec, environment, environment.cpus)) {}

void* PerCpuHashMap::lookup(const void* key, unsigned cpu) {
  Element* element = table().find(key);
  return element == nullptr ? nullptr : found(element, cpu);
}

Map::LookupFunction PerCpuHashMap::lookup_function() const {
  return SizedLookup<PerCpuHashMap>::function_for(spec().key_size);
}

int PerCpuHashMap::update(const void* key, const void* value, uint64_t flags, unsigned cpu) {
  if (flags > BPF_EXIST) return -EINVAL;
  return table().put_in_place(
      key, flags, pool().cache(cpu), [&](Element* element) { change(element, value, cpu); },
      [&](Element* element) { fill(element, value, cpu); });
}

int PerCpuHashMap::write(const void* key, const void* value, uint64_t flags) {
  if (flags > BPF_EXIST) return -EINVAL;
  const auto copy_in = [&](Element* element) { change_all(element, value); };
  ElementPool::TaskCache cache(pool());
  return table().put_in_place(key, flags, cache, copy_in, copy_in);
}

}  // namespace skep::maps
