#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "maps/epoch.hpp"
#include "vm/engine.hpp"
#include "vm/fault.hpp"
#include "vm/random.hpp"
#include "vm/redirect_info.hpp"
#include "vm/stack_memory.hpp"

namespace skep::maps {
class RingBufferMap;
}

namespace skep::vm {

class Machine;
struct RunOptions;

// Memory a program may touch. size 0: nothing.
struct Region {
  uint64_t begin = 0;
  uint64_t size = 0;

  bool contains(uint64_t address, uint64_t bytes) const {
    return bytes <= size && address - begin <= size - bytes;
  }
};

// A record of a ring buffer that a program reserved, and has to submit or discard before its run ends.
struct HeldRecord {
  Region memory;
  maps::RingBufferMap* ring = nullptr;
  uint32_t slot = 0;  // of the call that reserved it
  const Program* program = nullptr;
};

// What the engines' code reads and writes while a program runs. Standard layout: the JIT addresses its
// fields. What is counted comes first: processors pass on a store to a load of the same register and a short
// displacement at once.
struct RunState {
  int64_t fuel = 0;      // negative: used up
  uint64_t faulted = 0;  // not 0: the run is over, unwind
  uint32_t tail_calls = 0;
  uint32_t cpu = 0;          // its number
  uint64_t stack_begin = 0;  // kMaxFrames frames; the first frame is the lowest
  uint64_t stack_end = 0;
  uint64_t frame_top = 0;               // r10 of the next function entered from C++
  uint64_t native_stack = 0;            // the JIT's: where to unwind to
  const CallSite* call_site = nullptr;  // of the helper being called, where its entry needs to know
  uint64_t helper_number = 0;           // of a call by register
  const Program* program = nullptr;     // the one running; a tail call changes it
  Region packet;                        // [data_meta or data, data_end), or the memory of a raw program
  Region context;
  Region last_read;  // the element value read last, tried before a search
  Region last_write;
  EngineKind engine = EngineKind::kInterpreter;
  Mode mode = Mode::kChecked;
  // Bytes from stack_begin on that runs may have written since they were zeroed last.
  uint64_t stack_written = 0;
};

// A simulated CPU: what a program run needs that is private to the CPU. One thread drives it at a time, as if
// preemption were off; CpuLock makes sure of that. Helpers get it as their sixth argument.
class Cpu : public RunState {
 public:
  Cpu(Machine& machine, unsigned id, bool guard_pages = false);
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;
  ~Cpu();

  // The JIT's code gets the CPU and addresses these fields: the base comes first in it.
  RunState& run() { return *this; }

  // Another program goes on: what the one before was allowed to touch says nothing about it.
  void enter(const Program& program) {
    run().program = &program;
    run().last_read.size = 0;
    run().last_write.size = 0;
  }

  unsigned id() const { return id_; }
  Machine& machine() const { return machine_; }
  Random& random() { return random_; }

  // Runs a function of a program by itself, between two runs: a timer's callback. `granted`: memory it may
  // touch besides. The CPU is ready for the runs it was made ready for before. A fault is left in fault() and
  // stopped() until the next run.
  void run_callback(const Program& program, const Subprogram& function, const RunOptions& options,
                    const Arguments& arguments, const Region& granted);

  // The lock of a value, for the program that runs (bpf_spin_lock): one at a time. In checked mode what the
  // verifier refuses is a fault, and waiting costs fuel.
  void lock_value(void* word);
  void unlock_value(void* word);
  bool holds_lock() const { return lock_word_ != nullptr; }
  // The run goes somewhere where it must not hold a lock.
  void raise_lock_fault(uint32_t slot, const char* reason);
  // At the end of a run: gives back what the program has not, which is a fault.
  void end_lock();

  // When the next timer of this CPU is due on the machine's clock; see Timers.
  static constexpr uint64_t kNoTimer = UINT64_MAX;
  std::atomic<uint64_t> next_timer{kNoTimer};
  bool has_timers() const { return next_timer.load(std::memory_order_relaxed) != kNoTimer; }

  // For helpers that call back into the program: `callback` is the pointer the program gave. Returns r0.
  // After each call ask stopped(): true when the callback faulted, and the helper has to return at once.
  uint64_t call_back(uint64_t callback, const Arguments& arguments);
  bool stopped() const { return faulted != 0; }

  // Ends the run with a fault; the first one stays.
  void raise(const Fault& fault);
  const Fault& fault() const { return fault_; }

  // Takes fuel for work done on the program's behalf; false when it is used up (the fault is raised then).
  bool consume_fuel(uint64_t amount, uint32_t slot);

  // Lets the program touch more memory until its run ends: what a helper hands out. Nothing asks for it in
  // verified mode.
  void grant(const void* memory, size_t size) {
    if (run().mode == Mode::kChecked) grants_.push_back({reinterpret_cast<uintptr_t>(memory), size});
  }
  // Takes the newest grant back.
  void revoke() {
    if (run().mode == Mode::kChecked) grants_.pop_back();
  }
  // Lets the program use a map that it found in another, and touch its values, until its run ends.
  void admit_map(maps::Map& map) {
    if (!is_admitted(reinterpret_cast<uintptr_t>(&map))) admitted_maps_.push_back(&map);
  }
  bool is_admitted(uint64_t address) const;

  // Records that a checked program holds. What it is granted with them ends when it lets them go; those it
  // still has when its run ends are discarded, which is a fault.
  void hold(const HeldRecord& record) { records_.push_back(record); }
  const HeldRecord* held_at(uint64_t begin) const;
  void let_go(uint64_t begin);
  bool holds_records() const { return !records_.empty(); }
  void drop_records();

  // A dynptr that a helper passes to a callback: not in memory that the program may touch.
  bool is_helper_dynptr(uint64_t address) const {
    return std::ranges::find(helper_dynptrs_, address) != helper_dynptrs_.end();
  }

  // Whether the running program may access the bytes; raises the fault if not. Checked mode's slow path.
  // `lasting`, where it is given, gets the region around them of which the same is true for as long as the
  // running function is, but for the packet's, which goes when the packet moves; it is left as it is where
  // there is none.
  bool check_access(const Program& program, uint32_t slot, uint64_t address, uint64_t size, bool write,
                    Region* lasting = nullptr);
  // The same without a fault.
  bool may_access(const Program& program, uint64_t address, uint64_t size, bool write,
                  Region* lasting = nullptr);

  // The packet or context memory of this CPU: below 4 GiB, so that the 32-bit data and data_end of a context
  // hold real addresses. Made on first use.
  class PacketBuffer& packet_buffer();
  // The same for packets that go on to another program. Made on first use.
  class PacketBuffer& forward_buffer();
  // The packet set up for this run, or nullptr; for the packet helpers.
  class PacketContext* packet_context = nullptr;

  // Where the packet is to go when the run is over; packet runs begin with nothing.
  RedirectInfo redirect;

  // The running program may write all of the stack: it went where no analysis of it alone can tell.
  void expect_whole_stack_written() { run().stack_written = kMaxFrames * kFrameSize; }

 private:
  friend class Runner;
  friend class CpuLock;
  friend class CpuHold;
  friend class ScopedDynptr;
  // What stays the same over runs of one program.
  void prepare_runs(EngineKind engine, Mode mode);
  // What a program left on the stack is the next one's to see only where the verifier lets it.
  bool has_stack_to_zero() const { return stack_written != 0; }
  // Makes the CPU ready for the next run: sets back what the last one may have changed.
  void begin_run(const Program& program, int64_t fuel) {
    begin_verified_run(program, fuel);
    if (run().mode == Mode::kChecked) begin_checks(program);
  }
  void begin_verified_run(const Program& program, int64_t fuel) {
    run().fuel = fuel;
    run().faulted = 0;
    run().frame_top = run().stack_begin + kFrameSize;
    run().program = &program;
    run().tail_calls = 0;
  }
  void begin_checks(const Program& program) {
    if (has_stack_to_zero()) zero_stack();
    enter(program);
    run().stack_written = program.stack_reach();
    grants_.clear();
    admitted_maps_.clear();
  }
  void zero_stack();
  bool may_access_value(const maps::Map& map, const maps::MemoryRange& range, uint64_t address, uint64_t size,
                        bool write, Region* lasting);

  Machine& machine_;
  unsigned id_;
  Random random_;
  Fault fault_;
  std::vector<Region> grants_;
  std::vector<HeldRecord> records_;
  std::vector<uint64_t> helper_dynptrs_;
  std::vector<maps::Map*> admitted_maps_;
  void* lock_word_ = nullptr;  // of the lock that the running program holds
  uint32_t lock_slot_ = 0;     // where it took it, in checked mode
  const Program* lock_program_ = nullptr;
  StackMemory stack_;
  std::unique_ptr<PacketBuffer> packet_buffer_;
  std::unique_ptr<PacketBuffer> forward_buffer_;
  std::mutex mutex_;
  bool held_ = false;  // by a CpuHold; guarded by mutex_
};

// Memory that a callback may touch while it runs, such as the key it is given.
class [[nodiscard]] ScopedGrant {
 public:
  ScopedGrant(Cpu& cpu, const void* memory, size_t size) : cpu_(cpu) { cpu.grant(memory, size); }
  ScopedGrant(const ScopedGrant&) = delete;
  ScopedGrant& operator=(const ScopedGrant&) = delete;
  ~ScopedGrant() { cpu_.revoke(); }

 private:
  Cpu& cpu_;
};

// A dynptr that lives while a callback runs.
class [[nodiscard]] ScopedDynptr {
 public:
  ScopedDynptr(Cpu& cpu, const void* dynptr) : cpu_(cpu) {
    cpu.helper_dynptrs_.push_back(reinterpret_cast<uintptr_t>(dynptr));
  }
  ScopedDynptr(const ScopedDynptr&) = delete;
  ScopedDynptr& operator=(const ScopedDynptr&) = delete;
  ~ScopedDynptr() { cpu_.helper_dynptrs_.pop_back(); }

 private:
  Cpu& cpu_;
};

// Drives a CPU: holds it for one thread until the lock's end. Waits for the end of another lock, but not of a
// CpuHold: then the lock is false, and the CPU not to be touched.
class [[nodiscard]] CpuLock {
 public:
  explicit CpuLock(Cpu& cpu) : lock_(cpu.mutex_) {
    if (cpu.held_) lock_.unlock();
  }
  explicit operator bool() const { return lock_.owns_lock(); }

 private:
  std::unique_lock<std::mutex> lock_;
};

// Drives a CPU for longer than a run, on any one thread at a time. Taken while holding a CpuLock, which may
// end before it.
class [[nodiscard]] CpuHold {
 public:
  CpuHold(Cpu& cpu, const CpuLock&) : cpu_(cpu) { cpu.held_ = true; }
  CpuHold(const CpuHold&) = delete;
  CpuHold& operator=(const CpuHold&) = delete;
  // The mutex makes what this holder did visible to the next one.
  ~CpuHold() {
    const std::scoped_lock lock(cpu_.mutex_);
    cpu_.held_ = false;
  }

 private:
  Cpu& cpu_;
};

}  // namespace skep::vm
