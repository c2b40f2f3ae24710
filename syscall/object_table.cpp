#include "syscall/object_table.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <unordered_set>

#include "maps/redirect_map.hpp"

namespace skep::sys {
namespace {

constexpr size_t kMinSweep = 64;

// What bpftool and others look for in the link of /proc/self/fd.
const char* descriptor_name(Kind kind) {
  switch (kind) {
    case Kind::kMap:
      return "bpf-map";
    case Kind::kProgram:
      return "bpf-prog";
    case Kind::kBtf:
      return "btf";
    case Kind::kLink:
      return "bpf-link";
    case Kind::kStatistics:
      return "bpf-stats";
    case Kind::kPerfEvent:
      return "[perf_event]";
  }
  return "";
}

int open_mode(Access access) { return access.read ? (access.write ? O_RDWR : O_RDONLY) : O_WRONLY; }

Access access_of(int descriptor) {
  const int mode = fcntl(descriptor, F_GETFL) & O_ACCMODE;
  return {.read = mode != O_WRONLY, .write = mode != O_RDONLY};
}

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

// A descriptor with an inode of its own that cannot be mapped: mmap(2) fails with ENODEV.
int unmappable_descriptor() {
  std::array<int, 2> ends{-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return -1;
  ::close(ends[1]);
  return ends[0];
}

size_t index(Kind kind) { return static_cast<size_t>(kind); }

}  // namespace

ObjectTable::~ObjectTable() {
  for (const auto& object : all(Kind::kMap)) {
    auto& map = static_cast<MapObject&>(*object);
    clear_programs(map);
    map.map->set_used_by_user(false);
    // A device's program may name the map that it is in.
    const maps::EpochDomain::TaskGuard guard(machine_.epochs());
    if (map.map->redirects() != nullptr) map.map->clear();
  }
  entries_.clear();
  pins_.clear();
  // What the arrays held waits for its epoch; nobody runs any more, so that passes at once.
  for (uint64_t i = 0; i <= maps::EpochDomain::kGrace; ++i) machine_.epochs().try_advance();
  machine_.epochs().collect();
}

uint32_t ObjectTable::next_id(Kind kind) {
  std::scoped_lock lock(mutex_);
  uint32_t& last = last_id_[index(kind)];
  do {
    last = last >= INT_MAX ? 1 : last + 1;
  } while (ids_[index(kind)].contains(last));
  return last;
}

void ObjectTable::take_back(Kind kind, uint32_t id) {
  std::scoped_lock lock(mutex_);
  if (last_id_[index(kind)] == id) --last_id_[index(kind)];
}

void ObjectTable::add(const std::shared_ptr<KernelObject>& object) {
  std::scoped_lock lock(mutex_);
  ids_[index(object->kind)][object->id] = object;
  if (object->kind != Kind::kMap) return;
  auto map = std::static_pointer_cast<MapObject>(object);
  by_map_[map->map.get()] = map;
}

bool ObjectTable::add_link(const std::shared_ptr<LinkObject>& link) {
  link->id = next_id(Kind::kLink);
  std::scoped_lock lock(mutex_);
  for (const auto& [id, weak] : ids_[index(Kind::kLink)]) {
    const auto other = std::static_pointer_cast<LinkObject>(weak.lock());
    if (other && other->ifindex() == link->ifindex()) return false;
  }
  ids_[index(Kind::kLink)][link->id] = link;
  return true;
}

std::shared_ptr<MapObject> ObjectTable::map_object(const maps::Map& map) const {
  std::shared_lock lock(mutex_);
  const auto found = by_map_.find(&map);
  return found == by_map_.end() ? nullptr : found->second.lock();
}

Result<ObjectTable::Inode> ObjectTable::inode_of(int descriptor) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0)
    return fail(EBADF, fmt::format("descriptor {} is not open", descriptor));
  return Inode{status.st_dev, status.st_ino};
}

// Another descriptor of the object's memory, so that mmap(2) finds it.
int ObjectTable::open_storage(int storage, Access access) {
  if (access.read && access.write) return fcntl(storage, F_DUPFD_CLOEXEC, 0);
  const std::string path = fmt::format("/proc/self/fd/{}", storage);
  return ::open(path.c_str(), open_mode(access) | O_CLOEXEC);
}

int ObjectTable::open(const std::shared_ptr<KernelObject>& object, Access access) {
  bool full = false;
  {
    std::shared_lock lock(mutex_);
    full = entries_.size() >= sweep_at_;
  }
  if (full) sweep();

  const maps::Map* map =
      object->kind == Kind::kMap ? static_cast<const MapObject&>(*object).map.get() : nullptr;
  const bool storage = object->storage() >= 0;
  // Who asked for a map to be mapped tries it, and a memory file would let him.
  const bool refuses = map != nullptr && !storage && (map->spec().flags & BPF_F_MMAPABLE) != 0;
  const int descriptor = storage   ? open_storage(object->storage(), access)
                         : refuses ? unmappable_descriptor()
                                   : memfd_create(descriptor_name(object->kind), MFD_CLOEXEC);
  if (descriptor < 0) return -errno;
  const auto inode = inode_of(descriptor);
  if (!inode) {
    ::close(descriptor);
    return -EBADF;
  }
  // A sweep that runs now waits for this lock or has read the open descriptors before; either way it does not
  // miss this one.
  std::scoped_lock lock(mutex_);
  Entry& entry = entries_[*inode];
  if (entry.object != object) {
    if (entry.object) --entry.object->user_references_;
    add_user(*object);
  }
  entry = {object, access, storage};
  return descriptor;
}

Result<Descriptor> ObjectTable::at(int descriptor) const {
  const auto inode = inode_of(descriptor);
  if (!inode) return std::unexpected(inode.error());
  std::shared_lock lock(mutex_);
  const auto found = entries_.find(*inode);
  if (found == entries_.end()) return fail(EINVAL, fmt::format("descriptor {} is no BPF object", descriptor));
  const Entry& entry = found->second;
  return Descriptor{entry.object, entry.storage ? access_of(descriptor) : entry.access};
}

std::shared_ptr<KernelObject> ObjectTable::find(Kind kind, uint32_t id) {
  std::shared_lock lock(mutex_);
  const auto found = ids_[index(kind)].find(id);
  return found == ids_[index(kind)].end() ? nullptr : found->second.lock();
}

uint32_t ObjectTable::next(Kind kind, uint32_t id) {
  std::shared_lock lock(mutex_);
  const Ids& ids = ids_[index(kind)];
  for (auto at = ids.upper_bound(id); at != ids.end(); ++at)
    if (!at->second.expired()) return at->first;
  return 0;
}

std::vector<std::shared_ptr<KernelObject>> ObjectTable::all(Kind kind) {
  std::shared_lock lock(mutex_);
  std::vector<std::shared_ptr<KernelObject>> out;
  for (const auto& [id, weak] : ids_[index(kind)])
    if (auto object = weak.lock()) out.push_back(std::move(object));
  return out;
}

Result<void> ObjectTable::pin(const std::string& path, const std::shared_ptr<KernelObject>& object) {
  std::scoped_lock lock(mutex_);
  if (!pins_.try_emplace(path, object).second) return fail(EEXIST, fmt::format("{} exists", path));
  add_user(*object);
  return {};
}

std::shared_ptr<KernelObject> ObjectTable::pinned(const std::string& path) const {
  std::shared_lock lock(mutex_);
  const auto found = pins_.find(path);
  return found == pins_.end() ? nullptr : found->second;
}

bool ObjectTable::unpin(const std::string& path) {
  std::vector<std::shared_ptr<KernelObject>> released;
  {
    std::scoped_lock lock(mutex_);
    const auto found = pins_.find(path);
    if (found == pins_.end()) return false;
    release(std::move(found->second), released);
    pins_.erase(found);
  }
  finish(released);
  return true;
}

// One reference of user space more. Called with the lock.
void ObjectTable::add_user(KernelObject& object) {
  ++object.user_references_;
  if (object.kind == Kind::kMap) static_cast<MapObject&>(object).map->set_used_by_user(true);
}

// One reference of user space less. Called with the lock; finish() goes on without it.
void ObjectTable::release(std::shared_ptr<KernelObject> object,
                          std::vector<std::shared_ptr<KernelObject>>& released) {
  --object->user_references_;
  released.push_back(std::move(object));
}

void ObjectTable::finish(std::vector<std::shared_ptr<KernelObject>>& released) {
  for (const auto& object : released) {
    if (object->kind != Kind::kMap) continue;
    bool unused = false;
    {
      std::shared_lock lock(mutex_);
      unused = object->user_references_ == 0;
    }
    if (!unused) continue;
    clear_programs(static_cast<MapObject&>(*object));
    static_cast<MapObject&>(*object).map->set_used_by_user(false);
  }
  released.clear();
  const auto gone = [](const auto& item) { return item.second.expired(); };
  std::scoped_lock lock(mutex_);
  for (Ids& ids : ids_) std::erase_if(ids, gone);
  std::erase_if(by_map_, gone);
}

// A PROG_ARRAY that user space let go of is emptied, whoever still uses it (map_release_uref in the kernel):
// otherwise programs that call each other through it would never go.
void ObjectTable::clear_programs(MapObject& map) {
  const maps::MapSpec& spec = map.map->spec();
  if (maps::find_map_type(spec.type)->value_kind != maps::ValueKind::kProgram) return;
  const maps::EpochDomain::TaskGuard guard(machine_.epochs());
  for (uint32_t i = 0; i < spec.max_entries; ++i)
    if (map.map->peek_object(i)) map.map->set_object(i, nullptr);
}

// The inodes open in this process, without the descriptors that maps keep of their own storage.
std::vector<ObjectTable::Inode> ObjectTable::open_inodes() const {
  std::unordered_set<int> own;
  for (const auto& [inode, entry] : entries_)
    if (entry.storage) own.insert(entry.object->storage());
  std::vector<Inode> inodes;
  const std::unique_ptr<DIR, CloseDirectory> directory(opendir("/proc/self/fd"));
  if (!directory) {
    // Without /proc nothing can be known to be closed.
    for (const auto& [inode, entry] : entries_) inodes.push_back(inode);
    return inodes;
  }
  while (const dirent* item = readdir(directory.get())) {
    const std::string_view name = item->d_name;
    int number = -1;
    if (std::from_chars(name.data(), name.data() + name.size(), number).ec != std::errc{}) continue;
    if (own.contains(number)) continue;
    // By its name in /proc: other threads open and close descriptors meanwhile, and one that is gone is no
    // matter.
    struct stat status{};
    if (fstatat(dirfd(directory.get()), item->d_name, &status, 0) == 0)
      inodes.push_back({status.st_dev, status.st_ino});
  }
  return inodes;
}

void ObjectTable::mark_missing() {
  for (auto& [inode, entry] : entries_) entry.missing = true;
  for (const Inode& inode : open_inodes())
    if (const auto found = entries_.find(inode); found != entries_.end()) found->second.missing = false;
}

void ObjectTable::sweep() {
  std::vector<std::shared_ptr<KernelObject>> released;
  {
    std::scoped_lock lock(mutex_);
    std::unordered_set<const Entry*> missing;
    mark_missing();
    for (const auto& [inode, entry] : entries_)
      if (entry.missing) missing.insert(&entry);
    // A descriptor that another thread moves to another number while we look may be seen at neither: what is
    // missing is looked for twice.
    if (!missing.empty()) mark_missing();
    for (auto at = entries_.begin(); at != entries_.end();) {
      if (at->second.missing && missing.contains(&at->second)) {
        release(std::move(at->second.object), released);
        at = entries_.erase(at);
      } else {
        ++at;
      }
    }
    sweep_at_ = std::max(kMinSweep, 2 * entries_.size());
  }
  finish(released);
}

}  // namespace skep::sys
