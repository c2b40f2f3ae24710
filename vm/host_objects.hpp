#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "maps/epoch.hpp"
#include "maps/host_object.hpp"

namespace skep::vm {

// The host's objects, found out without any privilege.
//
// Identities, none of which the host gives twice:
//  - a socket: its cookie (SO_COOKIE) and its inode's number;
//  - a task: its number and when it started;
//  - an inode: device, number and time of birth, as far as the file system keeps that;
//  - a cgroup: device and inode number.
//
// How the end of an object is found out:
//  - A socket ends when its open file does, whoever shares in it. Each is added to an epoll instance, which
//    forgets a file when it ends; fdinfo of /proc lists those that are left. The socket is not kept open.
//  - A task ends when /proc does not show it any more or shows another of its number: when it was waited for.
//  - A cgroup's directory is kept open (which does not keep the cgroup) and is empty after its removal.
//  - Of inodes it is not found out.
class HostObjectTable final : public maps::HostObjects {
 public:
  explicit HostObjectTable(maps::EpochDomain& epochs) : epochs_(epochs) {}
  HostObjectTable(const HostObjectTable&) = delete;
  HostObjectTable& operator=(const HostObjectTable&) = delete;
  ~HostObjectTable();

  Result<std::shared_ptr<maps::HostObject>> at(maps::HostKind kind, int descriptor) override;
  Result<std::shared_ptr<maps::HostObject>> unified_cgroup_at(int descriptor) override;
  void refresh() override;
  void observe(std::weak_ptr<maps::HostObserver> observer) override;

  // The task of a thread.
  std::shared_ptr<maps::HostObject> task(int thread);
  // An object that no descriptor leads to has ended.
  void end(std::shared_ptr<maps::HostObject> object);

  // A number for a socket that the host does not have.
  uint64_t next_cookie() { return last_cookie_.fetch_add(1, std::memory_order_relaxed) + 1; }  // a counter

  // How many objects are known; for tests.
  size_t size() const;

 private:
  struct Identity {
    maps::HostKind kind;
    std::array<uint64_t, 3> numbers;
    friend bool operator==(const Identity&, const Identity&) = default;
  };
  struct IdentityHash {
    size_t operator()(const Identity& identity) const;
  };
  struct Entry {
    std::shared_ptr<maps::HostObject> object;
    int directory = -1;  // of a cgroup
  };
  using Entries = std::unordered_map<Identity, Entry, IdentityHash>;
  using Ended = std::vector<std::shared_ptr<maps::HostObject>>;

  static Result<Identity> identify(maps::HostKind kind, int descriptor);
  static Result<Identity> identify_socket(int descriptor);
  static Result<Identity> identify_task(int descriptor);
  static Result<Identity> identify_inode(int descriptor);
  static Result<Identity> identify_cgroup(int descriptor, bool unified);

  Result<std::shared_ptr<maps::HostObject>> find(const Identity& identity, int descriptor);
  Result<void> watch(const Identity& identity, int descriptor, Entry& entry);
  Result<void> watch_socket(const Identity& identity, int descriptor);
  bool has_ended(const Identity& identity, const Entry& entry,
                 const std::unordered_set<uint64_t>* open_sockets) const;
  std::unordered_set<uint64_t> open_sockets() const;
  void drop(Entries::iterator& entry);
  Ended take_ended();
  void tell(const Ended& ended);

  maps::EpochDomain& epochs_;
  mutable std::mutex mutex_;
  Entries entries_;
  Ended unlisted_;           // ended, while something is still kept for them
  size_t refresh_at_ = 128;  // entries
  std::atomic<uint64_t> last_cookie_{0};
  int sockets_ = -1;  // the epoll instance; -1: no socket was seen yet
  std::vector<std::weak_ptr<maps::HostObserver>> observers_;
};

}  // namespace skep::vm
