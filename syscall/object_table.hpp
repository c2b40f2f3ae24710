#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "skep/error.hpp"
#include "syscall/objects.hpp"
#include "vm/machine.hpp"

namespace skep::sys {

// What may be done through a descriptor (BPF_F_RDONLY and BPF_F_WRONLY of the command that made it).
struct Access {
  bool read = true;
  bool write = true;
};

struct Descriptor {
  std::shared_ptr<KernelObject> object;
  Access access;
};

// A machine's objects, by descriptor, by id and by pinned path.
//
// Descriptors are memory files. Each handed out has an inode of its own by which it is recognised, wherever
// it was duplicated to; a map's that can be mapped has the inode of the map's storage. Nobody tells us of
// close(2): sweep() looks which inodes are still open in this process. So an object may outlive its last
// descriptor until the next sweep, which is made before objects are listed or found by id, and when the
// number of descriptors has doubled since the last one. A descriptor that is only on its way through a socket
// or in another process does not count.
//
// Thread-safe.
class ObjectTable final : public vm::MachinePart {
 public:
  explicit ObjectTable(vm::Machine& machine) : machine_(machine) {}
  // Empties arrays of programs: they may hold programs that hold them.
  ~ObjectTable() override;

  // Gives an object its id, the next of its kind. `take_back` undoes that for the last one.
  uint32_t next_id(Kind kind);
  void take_back(Kind kind, uint32_t id);
  // Makes an object findable by its id.
  void add(const std::shared_ptr<KernelObject>& object);

  // Gives a link its id and makes it findable; false: its device has one already.
  bool add_link(const std::shared_ptr<LinkObject>& link);

  // A new descriptor (O_CLOEXEC), or -errno.
  int open(const std::shared_ptr<KernelObject>& object, Access access);
  // EBADF: no such descriptor. EINVAL: not one of this machine's.
  Result<Descriptor> at(int descriptor) const;
  // EINVAL: of another kind, too.
  template <class T>
  Result<std::shared_ptr<T>> get(int descriptor) const {
    auto found = at(descriptor);
    if (!found) return std::unexpected(found.error());
    if (found->object->kind != T::kKind) return fail(EINVAL, "the descriptor is of another kind");
    return std::static_pointer_cast<T>(found->object);
  }

  // nullptr: none.
  std::shared_ptr<KernelObject> find(Kind kind, uint32_t id);
  // The lowest id above `id`; 0: none.
  uint32_t next(Kind kind, uint32_t id);
  std::vector<std::shared_ptr<KernelObject>> all(Kind kind);
  // The object of a map that came out of here; nullptr: it did not.
  std::shared_ptr<MapObject> map_object(const maps::Map& map) const;

  // EEXIST.
  Result<void> pin(const std::string& path, const std::shared_ptr<KernelObject>& object);
  std::shared_ptr<KernelObject> pinned(const std::string& path) const;
  bool unpin(const std::string& path);

  // Drops what nobody refers to any more.
  void sweep();

  // Whether user space ever asked to wait for a map. Relaxed: who waits asked before, in program order.
  void expect_waiting() { waiting_expected_.store(true, std::memory_order_relaxed); }
  bool waiting_expected() const { return waiting_expected_.load(std::memory_order_relaxed); }

  std::atomic<unsigned>& statistics_enabled() { return statistics_enabled_; }

 private:
  struct Inode {
    dev_t device;
    ino_t number;
    friend bool operator==(const Inode&, const Inode&) = default;
  };
  struct InodeHash {
    size_t operator()(const Inode& inode) const {
      return std::hash<uint64_t>{}(inode.number ^ static_cast<uint64_t>(inode.device) << 40);
    }
  };
  struct Entry {
    std::shared_ptr<KernelObject> object;
    Access access;
    bool storage = false;  // the inode is that of the object's memory; the access is the descriptor's own
    bool missing = false;  // was not open when the last sweep looked
  };
  using Ids = std::map<uint32_t, std::weak_ptr<KernelObject>>;

  static Result<Inode> inode_of(int descriptor);
  static int open_storage(int storage, Access access);
  std::vector<Inode> open_inodes() const;
  void mark_missing();
  static void add_user(KernelObject& object);
  void release(std::shared_ptr<KernelObject> object, std::vector<std::shared_ptr<KernelObject>>& released);
  void finish(std::vector<std::shared_ptr<KernelObject>>& released);
  void clear_programs(MapObject& map);

  vm::Machine& machine_;
  mutable std::shared_mutex mutex_;
  std::unordered_map<Inode, Entry, InodeHash> entries_;
  size_t sweep_at_ = 64;
  std::map<std::string, std::shared_ptr<KernelObject>> pins_;
  std::array<Ids, kKinds> ids_;
  std::array<uint32_t, kKinds> last_id_{};
  std::unordered_map<const maps::Map*, std::weak_ptr<MapObject>> by_map_;
  std::atomic<unsigned> statistics_enabled_{0};
  std::atomic<bool> waiting_expected_{false};
};

}  // namespace skep::sys
