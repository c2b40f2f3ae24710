#pragma once

#include <linux/bpf.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "maps/map.hpp"
#include "maps/perf_event.hpp"
#include "syscall/btf_image.hpp"
#include "vm/program.hpp"

// The objects that descriptors and ids stand for. Each keeps alive what it refers to: a program its maps and
// its BTF, a map its BTF, a link its program. The pointers to vm::Program and maps::Map that go elsewhere
// share in the object here (std::shared_ptr's aliasing), so that a map in a running program keeps its id.
namespace skep::sys {

enum class Kind : uint8_t { kMap, kProgram, kBtf, kLink, kStatistics, kPerfEvent };
inline constexpr size_t kKinds = 6;

class ObjectTable;

struct KernelObject {
  explicit KernelObject(Kind of) : kind(of) {}
  KernelObject(const KernelObject&) = delete;
  KernelObject& operator=(const KernelObject&) = delete;
  virtual ~KernelObject() = default;
  // The memory file that its descriptors are to be of, owned by the object; -1: any will do.
  virtual int storage() const { return -1; }

  const Kind kind;
  uint32_t id = 0;

 private:
  friend class ObjectTable;
  // Descriptors' inodes and pins. Guarded by the table's lock.
  unsigned user_references_ = 0;
};

struct BtfObject final : KernelObject {
  static constexpr Kind kKind = Kind::kBtf;
  explicit BtfObject(BtfImage from) : KernelObject(kKind), image(std::move(from)) {}
  const BtfImage image;
};

// The kind of program that a PROG_ARRAY holds and is called from: all of them alike
// (bpf_prog_map_compatible).
struct ProgramKind {
  uint32_t type = 0;
  bool xdp_has_frags = false;
  friend bool operator==(const ProgramKind&, const ProgramKind&) = default;
};

struct MapObject final : KernelObject {
  static constexpr Kind kKind = Kind::kMap;
  explicit MapObject(std::shared_ptr<maps::Map> from) : KernelObject(kKind), map(std::move(from)) {}

  int storage() const override { return map->memory_descriptor(); }

  const std::shared_ptr<maps::Map> map;
  std::shared_ptr<BtfObject> btf;
  uint32_t btf_key_type = 0;
  uint32_t btf_value_type = 0;
  uint32_t ifindex = 0;

  // Commands under way that write. BPF_MAP_FREEZE gives up while there are any, as the kernel's does.
  std::atomic<unsigned> writers{0};
  std::mutex freeze_mutex;

  // Whether a program may be in this PROG_ARRAY or call through it. The first one decides for all.
  bool admits(const ProgramKind& kind) {
    std::scoped_lock lock(owner_mutex_);
    if (!owner_) owner_ = kind;
    return *owner_ == kind;
  }
  std::optional<ProgramKind> owner() const {
    std::scoped_lock lock(owner_mutex_);
    return owner_;
  }

 private:
  mutable std::mutex owner_mutex_;
  std::optional<ProgramKind> owner_;
};

using ProgramTag = std::array<uint8_t, BPF_TAG_SIZE>;

struct ProgramObject final : KernelObject {
  static constexpr Kind kKind = Kind::kProgram;
  ProgramObject() : KernelObject(kKind) {}

  ProgramKind program_kind() const {
    return {program->type().id, (program->spec().flags & BPF_F_XDP_HAS_FRAGS) != 0};
  }

  std::shared_ptr<vm::Program> program;
  ProgramTag tag{};
  uint64_t load_time = 0;
  uint32_t user = 0;
  std::shared_ptr<BtfObject> btf;
  std::vector<bpf_func_info> functions;
  std::vector<bpf_line_info> lines;
  // Counted while statistics are enabled.
  std::atomic<uint64_t> runs{0};
  std::atomic<uint64_t> run_time_ns{0};
};

// An XDP program attached to a device.
struct LinkObject final : KernelObject {
  static constexpr Kind kKind = Kind::kLink;
  LinkObject(std::shared_ptr<ProgramObject> of, uint32_t device)
      : KernelObject(kKind), ifindex_(device), program_(std::move(of)) {}

  std::shared_ptr<ProgramObject> program() const {
    std::scoped_lock lock(mutex_);
    return program_;
  }
  // false: it is not `expected` that is attached now.
  bool replace(std::shared_ptr<ProgramObject> with, const ProgramObject* expected) {
    std::scoped_lock lock(mutex_);
    if (expected && program_.get() != expected) return false;
    program_.swap(with);
    return true;
  }
  // 0 once detached.
  uint32_t ifindex() const { return ifindex_.load(std::memory_order_relaxed); }  // no data hangs on it
  void detach() { ifindex_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<uint32_t> ifindex_;
  mutable std::mutex mutex_;
  std::shared_ptr<ProgramObject> program_;
};

// What perf_event_open(2) makes for a program's output.
struct PerfEventObject final : KernelObject {
  static constexpr Kind kKind = Kind::kPerfEvent;
  explicit PerfEventObject(std::shared_ptr<maps::PerfEvent> of) : KernelObject(kKind), event(std::move(of)) {}
  int storage() const override { return event->descriptor_of_pages(); }

  const std::shared_ptr<maps::PerfEvent> event;
};

// BPF_ENABLE_STATS: run statistics are kept while its descriptor is open.
struct StatisticsObject final : KernelObject {
  static constexpr Kind kKind = Kind::kStatistics;
  explicit StatisticsObject(std::atomic<unsigned>& enabled) : KernelObject(kKind), enabled_(enabled) {
    ++enabled_;
  }
  ~StatisticsObject() override { --enabled_; }

 private:
  std::atomic<unsigned>& enabled_;
};

}  // namespace skep::sys
