#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "maps/map.hpp"
#include "skep/error.hpp"

namespace skep::maps {

// What the kernel that skep runs on has behind a descriptor of the caller's.
enum class HostKind : uint8_t { kSocket, kTask, kInode, kCgroup };

// A socket, task, inode or cgroup, or what stands for one in a machine (the socket of a packet). There is one
// for each identity while anybody refers to it. It keeps nothing open: whether the object in the kernel is
// still there is what HostObjects finds out.
class HostObject final : public Object {
 public:
  HostObject(HostKind kind, uint64_t number) : kind_(kind), number_(number) {}

  HostKind kind() const { return kind_; }
  // A socket's cookie, the number of a task, an inode or a cgroup.
  uint64_t number() const { return number_; }
  uint32_t id() const override { return static_cast<uint32_t>(number_); }

  // Whether it was there when HostObjects looked last. Once false it stays so. Acquire: pairs with end().
  bool alive() const { return alive_.load(std::memory_order_acquire) != 0; }
  // The same for one who has just attached something to it: true means that the observers will find that
  // when the object ends.
  //
  // It and end() exchange the same word, so one comes first. If it is this one, end() reads what it wrote:
  // release and acquire, and what was attached is seen by those who look after end(). Else it finds the end.
  bool confirm_alive() { return alive_.fetch_add(0, std::memory_order_acq_rel) != 0; }
  void end() { alive_.exchange(0, std::memory_order_acq_rel); }

  // What is kept for the object and knows its address alone. Called by who has a share in it, or is counted.
  // Relaxed: the counted has a share. Release and acquire: who finds nothing held may free the object.
  void hold() { held_.fetch_add(1, std::memory_order_relaxed); }
  void let_go() { held_.fetch_sub(1, std::memory_order_release); }
  bool held() const { return held_.load(std::memory_order_acquire) != 0; }

 private:
  const HostKind kind_;
  const uint64_t number_;
  std::atomic<uint32_t> alive_{1};
  std::atomic<uint32_t> held_{0};
};

// Told when an object has ended. Called inside an epoch guard, by the thread that found out, with no lock
// held. Things may be attached to it still, by those who found it alive just before: they ask once more.
class HostObserver {
 public:
  virtual void host_object_ended(HostObject& object) = 0;

 protected:
  ~HostObserver() = default;
};

// The objects of the host that a machine knows. Thread-safe.
class HostObjects {
 public:
  // The object behind a descriptor of this process, as the kernel's maps find it. Errors are the kernel's.
  //  kSocket  EBADF: not open. ENOTSOCK: no socket.
  //  kTask    EBADF: no pidfd. ENOENT: the task is gone, or not to be seen in /proc.
  //  kInode   EBADF: not open.
  //  kCgroup  of version 1 or 2. EBADF: no directory of a cgroup file system. ENOENT: the cgroup is gone.
  // ENOMEM and the like: it cannot be watched.
  virtual Result<std::shared_ptr<HostObject>> at(HostKind kind, int descriptor) = 0;
  // The same for cgroups of version 2 alone, of which the others are EBADF.
  virtual Result<std::shared_ptr<HostObject>> unified_cgroup_at(int descriptor) = 0;

  // Looks which objects have ended, and tells the observers. at() does so now and then, so that what has
  // ended is no more than what is there.
  virtual void refresh() = 0;
  // From now on until it is destroyed.
  virtual void observe(std::weak_ptr<HostObserver> observer) = 0;

 protected:
  ~HostObjects() = default;
};

}  // namespace skep::maps
