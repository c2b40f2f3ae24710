#include "maps/local_storage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "maps/attributes.hpp"
#include "maps/epoch.hpp"
#include "maps/hash_table_impl.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

// BPF_LOCAL_STORAGE_MAX_VALUE_SIZE: 16 bits less struct bpf_local_storage_elem.
constexpr uint32_t kMaxValue = UINT16_MAX - 128;

// The number of owners is bounded by memory alone, so these are the table's own.
constexpr uint32_t kMaxOwners = 1U << 31;
constexpr uint64_t kBuckets = 1U << 14;

uint64_t key_of(const HostObject& owner) { return reinterpret_cast<uintptr_t>(&owner); }

// bpf_local_storage_map_alloc_check
Result<void> check(const MapSpec& spec) {
  constexpr uint32_t kKnown = BPF_F_NO_PREALLOC | BPF_F_CLONE;
  if ((spec.flags & ~kKnown) != 0)
    return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", spec.flags & ~kKnown));
  if ((spec.flags & BPF_F_NO_PREALLOC) == 0) return fail(EINVAL, "local storage is BPF_F_NO_PREALLOC");
  if (spec.max_entries != 0) return fail(EINVAL, "max_entries is not 0");
  if (spec.key_size != sizeof(int)) return fail(EINVAL, "key_size is not that of a descriptor");
  if (spec.value_size == 0) return fail(EINVAL, "value_size is 0");
  if (!spec.typed) return fail(EINVAL, "btf_key_type_id or btf_value_type_id is missing");
  if (spec.value_size > kMaxValue)
    return fail(E2BIG, fmt::format("value_size {} is over {}", spec.value_size, kMaxValue));
  return {};
}

}  // namespace

// An element's hold on its owner: taken before the element can be seen, and given back unless it came to be.
class LocalStorageMap::Hold {
 public:
  explicit Hold(HostObject& owner) : owner_(owner) { owner_.hold(); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    if (!kept_) owner_.let_go();
  }
  void keep() { kept_ = true; }

 private:
  HostObject& owner_;
  bool kept_ = false;
};

Result<std::shared_ptr<Map>> LocalStorageMap::create_for(HostKind kind, const MapSpec& spec,
                                                         const MapEnvironment& environment) {
  if (auto checked = check(spec); !checked) return std::unexpected(checked.error());
  auto map = std::make_shared<LocalStorageMap>(kind, spec, environment);
  if (!map->pool_.reserved() || !map->table_.valid())
    return fail(ENOMEM, "there is no memory for the local storage");
  if (environment.host_objects != nullptr) environment.host_objects->observe(map);
  return map;
}

LocalStorageMap::LocalStorageMap(HostKind kind, const MapSpec& spec, const MapEnvironment& environment)
    : Map(spec, environment),
      kind_(kind),
      host_objects_(environment.host_objects),
      pool_(environment.epochs->clock(), {sizeof(uint64_t), spec.value_size, 0}, 0),
      table_(pool_, environment.cpus, sizeof(uint64_t), kMaxOwners, kBuckets, environment.hash_seed) {}

LocalStorageMap::~LocalStorageMap() { let_go_of_owners(); }

// Nobody else uses the map.
void LocalStorageMap::let_go_of_owners() {
  if (table_.size() == 0) return;
  for (uint64_t bucket = 0; bucket < table_.buckets(); ++bucket) {
    for (Element* element = table_.first(bucket); element != nullptr; element = table_.after(element)) {
      HostObject* owner = nullptr;
      std::memcpy(&owner, pool_.key(element), sizeof owner);
      owner->let_go();
    }
  }
}

Element* LocalStorageMap::find(const HostObject& owner) const {
  const uint64_t key = key_of(owner);
  return table_.find_sized<sizeof key>(&key);
}

// Writes a new element's value, in memory that may have been another's.
void LocalStorageMap::fill(Element* element, const void* value) const {
  std::byte* to = pool_.value(element);
  if (value == nullptr || !spec().fields.empty()) std::memset(to, 0, spec().value_size);
  init_fields(spec().fields, to);
  if (value == nullptr) return;
  if (spec().fields.empty())
    copy_value_relaxed(to, value, spec().value_size);
  else
    copy_between_fields(spec().fields, to, value, spec().value_size);
}

void* LocalStorageMap::get(HostObject& owner, const void* initial, bool create, unsigned cpu) {
  for (;;) {
    Element* element = find(owner);
    if (element != nullptr) return pool_.value(element);
    if (!create || owner.kind() != kind_ || !owner.alive()) return nullptr;
    const int result = put(owner, initial, BPF_NOEXIST, pool_.cache(cpu), &element);
    if (result == 0) return pool_.value(element);
    // Where another was faster the kernel has no value to give. Here the other's is as good.
    if (result != -EEXIST) return nullptr;
  }
}

int LocalStorageMap::remove(HostObject& owner, unsigned cpu) { return take(owner, pool_.cache(cpu)); }

int LocalStorageMap::erase_on(const void* /*key*/, unsigned /*cpu*/) { return -kNotSupported; }

// bpf_local_storage_update
int LocalStorageMap::put(HostObject& owner, const void* value, uint64_t flags, ElementPool::Cache& cache,
                         Element** filled) {
  const uint64_t presence = flags & ~uint64_t{BPF_F_LOCK};
  const bool locks = presence != flags;
  if (presence > BPF_EXIST || (locks && !spec().fields.has(FieldKind::kSpinLock))) return -EINVAL;
  const uint64_t key = key_of(owner);
  Hold hold(owner);
  bool inserted = true;
  const auto fill_in = [&](Element* element) {
    fill(element, value);
    if (filled != nullptr) *filled = element;
  };
  int result = 0;
  if (locks) {
    const auto change = [&](Element* element) {
      inserted = false;
      std::byte* to = pool_.value(element);
      copy_locked(spec().fields, to, value, spec().value_size, to);
    };
    result = table_.put_in_place(&key, presence, cache, change, fill_in);
  } else {
    // The new element has the old one's hold on the owner.
    const auto replaced = [&](Element* element) {
      inserted = false;
      release_fields(spec().fields, pool_.value(element), timers());
    };
    result = table_.put(&key, presence, cache, fill_in, replaced);
  }
  if (result != 0 || !inserted) return result;
  hold.keep();
  // Nobody would come to take the element of an owner that ended before it was there.
  if (!owner.confirm_alive()) take(owner, cache);
  return 0;
}

int LocalStorageMap::take(HostObject& owner, ElementPool::Cache& cache) {
  const uint64_t key = key_of(owner);
  Element* element = table_.take(&key, cache);
  if (element == nullptr) return -ENOENT;
  release_fields(spec().fields, pool_.value(element), timers());
  owner.let_go();
  return 0;
}

Result<std::shared_ptr<HostObject>> LocalStorageMap::owner_of(const void* key) const {
  int descriptor = -1;
  std::memcpy(&descriptor, key, sizeof descriptor);
  if (host_objects_ == nullptr) return fail(EBADF, "there are no owners");
  return host_objects_->at(kind_, descriptor);
}

int LocalStorageMap::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(spec(), flags)) return refused;
  const auto owner = owner_of(key);
  if (!owner) return -owner.error().code;
  Element* element = find(**owner);
  if (element == nullptr) return -ENOENT;
  std::byte* from = pool_.value(element);
  if ((flags & BPF_F_LOCK) != 0)
    copy_locked(spec().fields, value, from, spec().value_size, from);
  else if (!spec().fields.empty())
    copy_between_fields(spec().fields, value, from, spec().value_size);
  else
    copy_value_relaxed(value, from, spec().value_size);
  init_fields(spec().fields, value);
  return 0;
}

int LocalStorageMap::write(const void* key, const void* value, uint64_t flags) {
  const auto owner = owner_of(key);
  if (!owner) return -owner.error().code;
  ElementPool::TaskCache cache(pool_);
  return put(**owner, value, flags, cache);
}

int LocalStorageMap::erase(const void* key) {
  const auto owner = owner_of(key);
  if (!owner) return -owner.error().code;
  ElementPool::TaskCache cache(pool_);
  return take(**owner, cache);
}

int LocalStorageMap::read_and_erase(const void* /*key*/, void* /*value*/, uint64_t flags) {
  return check_read_flags(spec(), flags) != 0 ? -EINVAL : -kNotSupported;
}

int LocalStorageMap::clear() {
  let_go_of_owners();
  table_.clear();
  return 0;
}

MemoryRange LocalStorageMap::value_containing(uintptr_t address) const {
  return pool_.value_containing(address);
}

void LocalStorageMap::host_object_ended(HostObject& object) {
  if (object.kind() != kind_) return;
  ElementPool::TaskCache cache(pool_);
  take(object, cache);
}

}  // namespace skep::maps
