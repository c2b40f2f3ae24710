#include "vm/host_objects.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

namespace skep::vm {
namespace {

using maps::HostKind;
using maps::HostObject;

std::unexpected<Error> failed(const char* what) { return fail(errno, what); }

// When a task started, in ticks since the host's start: field 22 of /proc/<task>/stat. nullopt: no such task.
std::optional<uint64_t> start_of_task(const std::string& task) {
  std::ifstream file("/proc/" + task + "/stat");
  const std::string line(std::istreambuf_iterator<char>(file), {});
  // The second field is a name in parentheses, with anything in it.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  for (int number = 3; number <= 22; ++number) fields >> field;
  uint64_t start = 0;
  const auto read = std::from_chars(field.data(), field.data() + field.size(), start);
  return read.ec == std::errc() ? std::optional(start) : std::nullopt;
}

// The number of a pidfd's task. nullopt: it is none; -1: the task is gone.
std::optional<int64_t> task_of_pidfd(int descriptor) {
  std::ifstream file(fmt::format("/proc/self/fdinfo/{}", descriptor));
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Pid:")) continue;
    return std::strtoll(line.c_str() + 4, nullptr, 10);
  }
  return std::nullopt;
}

bool is_cgroup_system(const struct statfs& status, bool unified) {
  return status.f_type == CGROUP2_SUPER_MAGIC || (!unified && status.f_type == CGROUP_SUPER_MAGIC);
}

// Every cgroup has this file until it is removed.
bool has_cgroup(int directory) { return faccessat(directory, "cgroup.procs", F_OK, 0) == 0; }

}  // namespace

size_t HostObjectTable::IdentityHash::operator()(const Identity& identity) const {
  size_t hash = static_cast<size_t>(identity.kind);
  for (const uint64_t number : identity.numbers) hash = hash * 0x9e3779b97f4a7c15 + number;
  return hash;
}

HostObjectTable::~HostObjectTable() {
  for (const auto& [identity, entry] : entries_)
    if (entry.directory >= 0) close(entry.directory);
  if (sockets_ >= 0) close(sockets_);
}

Result<HostObjectTable::Identity> HostObjectTable::identify(HostKind kind, int descriptor) {
  switch (kind) {
    case HostKind::kSocket:
      return identify_socket(descriptor);
    case HostKind::kTask:
      return identify_task(descriptor);
    case HostKind::kInode:
      return identify_inode(descriptor);
    case HostKind::kCgroup:
      return identify_cgroup(descriptor, false);
  }
  return fail(EINVAL, "no kind of object");
}

Result<HostObjectTable::Identity> HostObjectTable::identify_socket(int descriptor) {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  struct stat status{};
  if (getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0 || fstat(descriptor, &status) != 0)
    return failed("the descriptor is no socket's");
  return Identity{HostKind::kSocket, {cookie, status.st_ino, 0}};
}

Result<HostObjectTable::Identity> HostObjectTable::identify_task(int descriptor) {
  const auto task = task_of_pidfd(descriptor);
  if (!task) return fail(EBADF, "the descriptor is no pidfd");
  const auto start = *task > 0 ? start_of_task(std::to_string(*task)) : std::nullopt;
  if (!start) return fail(ENOENT, "there is no such task");
  return Identity{HostKind::kTask, {static_cast<uint64_t>(*task), *start, 0}};
}

Result<HostObjectTable::Identity> HostObjectTable::identify_inode(int descriptor) {
  struct statx status{};
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0)
    return failed("the descriptor is not open");
  uint64_t birth = 0;
  if ((status.stx_mask & STATX_BTIME) != 0)
    birth = static_cast<uint64_t>(status.stx_btime.tv_sec) * 1'000'000'000 + status.stx_btime.tv_nsec;
  const uint64_t device = uint64_t{status.stx_dev_major} << 32 | status.stx_dev_minor;
  return Identity{HostKind::kInode, {status.stx_ino, device, birth}};
}

Result<HostObjectTable::Identity> HostObjectTable::identify_cgroup(int descriptor, bool unified) {
  struct statfs system{};
  struct stat status{};
  if (fstatfs(descriptor, &system) != 0 || fstat(descriptor, &status) != 0)
    return failed("the descriptor is not open");
  if (!is_cgroup_system(system, unified) || !S_ISDIR(status.st_mode))
    return fail(EBADF, "the descriptor is no cgroup's");
  if (!has_cgroup(descriptor)) return fail(ENOENT, "the cgroup is gone");
  return Identity{HostKind::kCgroup, {status.st_ino, status.st_dev, 0}};
}

Result<std::shared_ptr<HostObject>> HostObjectTable::at(HostKind kind, int descriptor) {
  const auto identity = identify(kind, descriptor);
  if (!identity) return std::unexpected(identity.error());
  return find(*identity, descriptor);
}

Result<std::shared_ptr<HostObject>> HostObjectTable::unified_cgroup_at(int descriptor) {
  const auto identity = identify_cgroup(descriptor, true);
  if (!identity) return std::unexpected(identity.error());
  return find(*identity, descriptor);
}

std::shared_ptr<HostObject> HostObjectTable::task(int thread) {
  const auto number = static_cast<uint64_t>(thread);
  const auto start = start_of_task(std::to_string(number));
  // Without /proc there are no other tasks to tell it from.
  return *find({HostKind::kTask, {number, start.value_or(0), 0}}, -1);
}

Result<std::shared_ptr<HostObject>> HostObjectTable::find(const Identity& identity, int descriptor) {
  bool many = false;
  std::shared_ptr<HostObject> object;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto known = entries_.find(identity); known != entries_.end()) return known->second.object;
    Entry entry{std::make_shared<HostObject>(identity.kind, identity.numbers[0])};
    if (auto watched = watch(identity, descriptor, entry); !watched) return std::unexpected(watched.error());
    object = entry.object;
    entries_.emplace(identity, std::move(entry));
    many = entries_.size() >= refresh_at_;
  }
  if (many) refresh();
  return object;
}

Result<void> HostObjectTable::watch(const Identity& identity, int descriptor, Entry& entry) {
  if (identity.kind == HostKind::kSocket) return watch_socket(identity, descriptor);
  if (identity.kind != HostKind::kCgroup) return {};
  entry.directory = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (entry.directory < 0) return failed("the cgroup cannot be watched");
  return {};
}

Result<void> HostObjectTable::watch_socket(const Identity& identity, int descriptor) {
  if (sockets_ < 0) sockets_ = epoll_create1(EPOLL_CLOEXEC);
  if (sockets_ < 0) return failed("sockets cannot be watched");
  // Nobody waits for events there.
  epoll_event event{.events = 0, .data = {.u64 = identity.numbers[0]}};
  // Here already: the table had let go of the object while the socket stayed open.
  if (epoll_ctl(sockets_, EPOLL_CTL_ADD, descriptor, &event) != 0 && errno != EEXIST)
    return failed("the socket cannot be watched");
  // Another thread may have closed the descriptor, and it be another's now.
  const auto again = identify_socket(descriptor);
  if (again && *again == identity) return {};
  epoll_ctl(sockets_, EPOLL_CTL_DEL, descriptor, nullptr);
  return fail(EBADF, "the descriptor was closed meanwhile");
}

// The cookies that the epoll instance still has. The kernel writes the whole list under the instance's lock.
std::unordered_set<uint64_t> HostObjectTable::open_sockets() const {
  std::unordered_set<uint64_t> open;
  std::ifstream file(fmt::format("/proc/self/fdinfo/{}", sockets_));
  for (std::string line; std::getline(file, line);) {
    const size_t at = line.find("data:");
    if (line.starts_with("tfd:") && at != std::string::npos)
      open.insert(std::strtoull(line.c_str() + at + 5, nullptr, 16));
  }
  return open;
}

bool HostObjectTable::has_ended(const Identity& identity, const Entry& entry,
                                const std::unordered_set<uint64_t>* open_sockets) const {
  switch (identity.kind) {
    case HostKind::kSocket:
      return open_sockets != nullptr && !open_sockets->contains(identity.numbers[0]);
    case HostKind::kTask:
      return start_of_task(std::to_string(identity.numbers[0])) != identity.numbers[1];
    case HostKind::kCgroup:
      return !has_cgroup(entry.directory);
    case HostKind::kInode:
      return false;
  }
  return false;
}

void HostObjectTable::drop(Entries::iterator& entry) {
  if (entry->second.directory >= 0) close(entry->second.directory);
  entry = entries_.erase(entry);
}

// Takes out what has ended, and lets go of what nobody refers to. Called with the lock held: what has no
// other share is not given one meanwhile.
HostObjectTable::Ended HostObjectTable::take_ended() {
  std::optional<std::unordered_set<uint64_t>> sockets;
  // Without /proc it cannot be told: all are there as far as is known.
  if (sockets_ >= 0 && access("/proc/self/fdinfo", R_OK) == 0) sockets = open_sockets();
  Ended ended;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const std::shared_ptr<HostObject>& object = entry->second.object;
    if (has_ended(entry->first, entry->second, sockets ? &*sockets : nullptr)) {
      ended.push_back(object);
      unlisted_.push_back(object);
      drop(entry);
    } else if (object.use_count() == 1 && !object->held()) {
      drop(entry);
    } else {
      ++entry;
    }
  }
  std::erase_if(unlisted_, [](const auto& object) { return object.use_count() == 1 && !object->held(); });
  refresh_at_ = std::max<size_t>(128, 2 * entries_.size());
  return ended;
}

void HostObjectTable::refresh() {
  Ended ended;
  {
    const std::scoped_lock lock(mutex_);
    ended = take_ended();
  }
  tell(ended);
}

void HostObjectTable::end(std::shared_ptr<HostObject> object) {
  object->end();
  if (object.use_count() == 1 && !object->held()) return;
  tell({object});
  if (!object->held()) return;
  const std::scoped_lock lock(mutex_);
  std::erase_if(unlisted_, [](const auto& other) { return other.use_count() == 1 && !other->held(); });
  unlisted_.push_back(std::move(object));
}

void HostObjectTable::tell(const Ended& ended) {
  if (ended.empty()) return;
  for (const auto& object : ended) object->end();
  std::vector<std::shared_ptr<maps::HostObserver>> observers;
  {
    const std::scoped_lock lock(mutex_);
    std::erase_if(observers_, [](const auto& observer) { return observer.expired(); });
    for (const auto& observer : observers_)
      if (auto living = observer.lock()) observers.push_back(std::move(living));
  }
  const maps::EpochDomain::TaskGuard guard(epochs_);
  for (const auto& observer : observers)
    for (const auto& object : ended) observer->host_object_ended(*object);
}

void HostObjectTable::observe(std::weak_ptr<maps::HostObserver> observer) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(observers_, [](const auto& other) { return other.expired(); });
  observers_.push_back(std::move(observer));
}

size_t HostObjectTable::size() const {
  const std::scoped_lock lock(mutex_);
  return entries_.size();
}

}  // namespace skep::vm
