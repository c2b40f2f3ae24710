#include "maps/hash_map.hpp"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

// The kernel's limits, which user space sees as E2BIG: KMALLOC_MAX_SIZE less its element header for key and
// value together, and a table of buckets of 16 bytes under 4 GiB.
constexpr uint64_t kMaxKeyAndValue = (4 << 20) - 48;
constexpr uint32_t kMaxBuckets = UINT32_MAX / 16;

uint64_t buckets_for(const MapSpec& spec) { return std::bit_ceil(uint64_t{spec.max_entries}); }

Result<void> check_attributes(const MapSpec& spec, bool per_cpu) {
  constexpr uint32_t kKnown = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | kAccessFlags;
  if ((spec.flags & ~kKnown) != 0) {
    return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", spec.flags & ~kKnown));
  }
  if (per_cpu && numa_node(spec) != kNoNode) return fail(EINVAL, "a per-CPU map has no single memory node");
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if (spec.key_size == 0) return fail(EINVAL, "key_size is 0");
  if (spec.value_size == 0) return fail(EINVAL, "value_size is 0");
  if (uint64_t{spec.key_size} + spec.value_size >= kMaxKeyAndValue) {
    return fail(E2BIG, fmt::format("key_size and value_size together reach {}", kMaxKeyAndValue));
  }
  if (per_cpu && round_up_8(spec.value_size) > kMaxPerCpuValue) {
    return fail(E2BIG, fmt::format("value_size {} is over the {} of a per-CPU value", spec.value_size,
                                   kMaxPerCpuValue));
  }
  if (buckets_for(spec) > kMaxBuckets) return fail(E2BIG, "max_entries asks for too many buckets");
  return {};
}

// The kernel keeps an element per CPU beside max_entries, so that a full map can be updated on all of them.
uint64_t reserved_elements(const MapSpec& spec, const MapEnvironment& environment) {
  return (spec.flags & BPF_F_NO_PREALLOC) != 0 ? 0 : uint64_t{spec.max_entries} + environment.cpus;
}

}  // namespace

HashMapBase::HashMapBase(const MapSpec& spec, const MapEnvironment& environment, unsigned cpu_values)
    : Map(spec, environment),
      pool_(*environment.epochs, {spec.key_size, spec.value_size, cpu_values},
            reserved_elements(spec, environment)),
      table_(pool_, spec.key_size, spec.max_entries, buckets_for(spec),
             (spec.flags & BPF_F_ZERO_SEED) != 0 ? 0 : environment.hash_seed) {}

int HashMapBase::check_presence(bool present, uint64_t flags) {
  if (present && flags == BPF_NOEXIST) return -EEXIST;
  if (!present && flags == BPF_EXIST) return -ENOENT;
  return 0;
}

int HashMapBase::make_element(const void* key, uint32_t hash, Element*& made) {
  if (!table_.reserve()) return -E2BIG;
  made = pool_.acquire();
  if (made == nullptr) {
    table_.release();
    return -ENOMEM;
  }
  made->hash = hash;
  std::memcpy(pool_.key(made), key, spec().key_size);
  return 0;
}

int HashMapBase::erase(const void* key) {
  const uint32_t hash = table_.hash(key);
  Element* element = nullptr;
  {
    HashTable::BucketLock lock(table_, table_.bucket_of(hash));
    const HashTable::Position position = lock.locate(key, hash);
    if (position.element == nullptr) return -ENOENT;
    element = position.element;
    lock.remove(position);
  }
  table_.release();
  pool_.retire(element);
  return 0;
}

int HashMapBase::read_and_erase(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  const uint32_t hash = table_.hash(key);
  Element* element = nullptr;
  {
    HashTable::BucketLock lock(table_, table_.bucket_of(hash));
    const HashTable::Position position = lock.locate(key, hash);
    if (position.element == nullptr) return -ENOENT;
    element = position.element;
    copy_out(element, value);
    lock.remove(position);
  }
  table_.release();
  pool_.retire(element);
  return 0;
}

int HashMapBase::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  Element* element = table_.find(key);
  if (element == nullptr) return -ENOENT;
  copy_out(element, value);
  return 0;
}

int HashMapBase::next_key(const void* key, void* next) {
  uint64_t bucket = 0;
  const Element* element = nullptr;
  if (key != nullptr) {
    const uint32_t hash = table_.hash(key);
    // A key that is gone sends the caller back to the first one.
    if (const Element* current = table_.find(key, hash)) {
      element = HashTable::after(current);
      bucket = table_.bucket_of(hash) + 1;
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
                             uint32_t& copied, bool erase_read) {
  HashTable::BucketLock lock(table_, bucket);
  uint32_t found = 0;
  for (const Element* element = table_.first(bucket); element != nullptr; element = HashTable::after(element))
    ++found;
  if (found > room) return -ENOSPC;
  copied = found;
  for (Element* element = table_.first(bucket); element != nullptr;) {
    std::memcpy(keys, pool_.key(element), spec().key_size);
    copy_out(element, values);
    keys += spec().key_size;
    values += user_value_size();
    // Retired elements keep their way onwards while we are inside the guard.
    Element* next = HashTable::after(element);
    if (erase_read) {
      lock.remove(lock.locate(pool_.key(element), element->hash));
      table_.release();
      pool_.retire(element);
    }
    element = next;
  }
  return 0;
}

int HashMapBase::read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count,
                            uint64_t flags, bool erase_read) {
  if (check_read_flags(flags) != 0) return -EINVAL;
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
    if (table_.first(bucket) == nullptr) continue;
    uint32_t copied = 0;
    result = read_bucket(bucket, room - count, next_slot, next_value, copied, erase_read);
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

MemoryRange HashMapBase::value_containing(uintptr_t address) const { return pool_.value_containing(address); }

Result<std::shared_ptr<Map>> HashMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check_attributes(spec, false); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<HashMap>(spec, environment);
  if (!map->has_memory()) return fail(ENOMEM, "there is no memory for the hash table");
  return map;
}

HashMap::HashMap(const MapSpec& spec, const MapEnvironment& environment)
    : HashMapBase(spec, environment, 0) {}

void* HashMap::lookup(const void* key, unsigned /*cpu*/) {
  Element* element = table().find(key);
  return element == nullptr ? nullptr : pool().value(element);
}

template <uint32_t kKeySize>
void* HashMap::find_value(Map& map, const void* key, unsigned /*cpu*/) noexcept {
  auto& self = static_cast<HashMap&>(map);
  Element* element = self.table().find_sized<kKeySize>(key);
  return element == nullptr ? nullptr : self.pool().value(element);
}

Map::LookupFunction HashMap::lookup_function() const {
  switch (spec().key_size) {
    case 4:
      return find_value<4>;
    case 8:
      return find_value<8>;
    case 16:
      return find_value<16>;
    default:
      return [](Map& map, const void* key, unsigned cpu) noexcept {
        return static_cast<HashMap&>(map).HashMap::lookup(key, cpu);
      };
  }
}

int HashMap::update(const void* key, const void* value, uint64_t flags, unsigned /*cpu*/) {
  // A lock is an unknown flag too: no value has one.
  if (flags > BPF_EXIST) return -EINVAL;
  const uint32_t hash = table().hash(key);
  HashTable::BucketLock lock(table(), table().bucket_of(hash));
  const HashTable::Position position = lock.locate(key, hash);
  if (const int refused = check_presence(position.element != nullptr, flags)) return refused;
  Element* element = nullptr;
  if (position.element != nullptr) {
    element = pool().acquire();
    if (element == nullptr) return -ENOMEM;
    element->hash = hash;
    std::memcpy(pool().key(element), key, spec().key_size);
    copy_value_relaxed(pool().value(element), value, spec().value_size);
    lock.replace(position, element);
    pool().retire(position.element);
    return 0;
  }
  if (const int refused = make_element(key, hash, element)) return refused;
  copy_value_relaxed(pool().value(element), value, spec().value_size);
  lock.insert(element);
  return 0;
}

int HashMap::write(const void* key, const void* value, uint64_t flags) {
  return update(key, value, flags, 0);
}

long HashMap::for_each(ElementVisitor& visitor, unsigned /*cpu*/) {
  long visited = 0;
  for (uint64_t bucket = 0; bucket < table().buckets(); ++bucket) {
    for (Element* element = table().first(bucket); element != nullptr;) {
      // Read before the visit, as the kernel does: a visitor that deletes and re-inserts its element must not
      // walk in a circle.
      Element* next = HashTable::after(element);
      ++visited;
      if (visitor.visit(pool().key(element), pool().value(element)) != 0) return visited;
      element = next;
    }
  }
  return visited;
}

void HashMap::copy_out(Element* element, void* value) const {
  copy_value_relaxed(value, pool().value(element), spec().value_size);
}

Result<std::shared_ptr<Map>> PerCpuHashMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check_attributes(spec, true); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<PerCpuHashMap>(spec, environment);
  if (!map->has_memory()) return fail(ENOMEM, "there is no memory for the per-CPU hash table");
  return map;
}

PerCpuHashMap::PerCpuHashMap(const MapSpec& spec, const MapEnvironment& environment)
    : HashMapBase(spec, environment, environment.cpus) {}

void* PerCpuHashMap::lookup(const void* key, unsigned cpu) {
  const Element* element = table().find(key);
  return element == nullptr ? nullptr : pool().value(element, cpu);
}

template <uint32_t kKeySize>
void* PerCpuHashMap::find_value(Map& map, const void* key, unsigned cpu) noexcept {
  auto& self = static_cast<PerCpuHashMap&>(map);
  const Element* element = self.table().find_sized<kKeySize>(key);
  return element == nullptr ? nullptr : self.pool().value(element, cpu);
}

Map::LookupFunction PerCpuHashMap::lookup_function() const {
  switch (spec().key_size) {
    case 4:
      return find_value<4>;
    case 8:
      return find_value<8>;
    case 16:
      return find_value<16>;
    default:
      return [](Map& map, const void* key, unsigned cpu) noexcept {
        return static_cast<PerCpuHashMap&>(map).PerCpuHashMap::lookup(key, cpu);
      };
  }
}

void* PerCpuHashMap::lookup_percpu(const void* key, unsigned cpu) {
  return cpu < cpus() ? lookup(key, cpu) : nullptr;
}

// copy_in(element) changes an element that is there; fill(element) writes the whole value of a new one.
template <class CopyIn, class Fill>
int PerCpuHashMap::put(const void* key, uint64_t flags, CopyIn copy_in, Fill fill) {
  if (flags > BPF_EXIST) return -EINVAL;
  const uint32_t hash = table().hash(key);
  HashTable::BucketLock lock(table(), table().bucket_of(hash));
  const HashTable::Position position = lock.locate(key, hash);
  if (const int refused = check_presence(position.element != nullptr, flags)) return refused;
  if (position.element != nullptr) {
    copy_in(position.element);
    return 0;
  }
  Element* element = nullptr;
  if (const int refused = make_element(key, hash, element)) return refused;
  fill(element);
  lock.insert(element);
  return 0;
}

int PerCpuHashMap::update(const void* key, const void* value, uint64_t flags, unsigned cpu) {
  const auto copy_in = [&](Element* element) {
    copy_value_relaxed(pool().value(element, cpu), value, spec().value_size);
  };
  const auto fill = [&](Element* element) {
    // The other CPUs' values are zero, and so is the padding, which user space reads.
    for (unsigned each = 0; each < cpus(); ++each)
      std::memset(pool().value(element, each), 0, pool().value_stride());
    copy_in(element);
  };
  return put(key, flags, copy_in, fill);
}

int PerCpuHashMap::write(const void* key, const void* value, uint64_t flags) {
  const auto copy_in = [&](Element* element) {
    const auto* source = static_cast<const std::byte*>(value);
    for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
      copy_value_relaxed(pool().value(element, cpu), source + cpu * pool().value_stride(),
                         pool().value_stride());
    }
  };
  return put(key, flags, copy_in, copy_in);
}

long PerCpuHashMap::for_each(ElementVisitor& visitor, unsigned cpu) {
  long visited = 0;
  for (uint64_t bucket = 0; bucket < table().buckets(); ++bucket) {
    for (Element* element = table().first(bucket); element != nullptr;) {
      Element* next = HashTable::after(element);
      ++visited;
      if (visitor.visit(pool().key(element), pool().value(element, cpu)) != 0) return visited;
      element = next;
    }
  }
  return visited;
}

void PerCpuHashMap::copy_out(Element* element, void* value) const {
  auto* target = static_cast<std::byte*>(value);
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
    copy_value_relaxed(target + cpu * pool().value_stride(), pool().value(element, cpu),
                       pool().value_stride());
  }
}

}  // namespace skep::maps
