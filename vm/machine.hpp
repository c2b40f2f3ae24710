#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "maps/epoch.hpp"
#include "maps/map.hpp"
#include "skep/error.hpp"
#include "vm/clock.hpp"
#include "vm/cpu.hpp"
#include "vm/device.hpp"
#include "vm/engine.hpp"
#include "vm/helper.hpp"
#include "vm/host_objects.hpp"

namespace skep::vm {

inline constexpr unsigned kMaxCpus = 1024;
inline constexpr uint64_t kDefaultFuel = 1'000'000'000;

struct MachineOptions {
  unsigned cpus = 1;                  // 1 to kMaxCpus
  std::optional<uint64_t> seed = {};  // fixes clock, random numbers, task and map seeds
  EngineKind engine = EngineKind::kJit;
  Mode mode = Mode::kChecked;
  uint64_t fuel = kDefaultFuel;  // per run
  PassSet passes = PassSet::all();
  bool guard_pages = false;  // around each CPU's stack
};

// The task that programs believe to run in.
struct Task {
  uint32_t pid = 0;   // the thread
  uint32_t tgid = 0;  // the process
  std::string comm;
};

// Where trace_printk's lines go. Called with the machine's trace lock held.
using TraceSink = std::function<void(unsigned cpu, std::string_view line)>;

// Told of the faults of timers' callbacks, by the thread that drives the CPU.
using FaultSink = std::function<void(unsigned cpu, const Fault& fault)>;

class Timers;

// What other rooms keep with a machine, such as the descriptor table of bpf(2).
class MachinePart {
 public:
  virtual ~MachinePart() = default;
};

// A machine: simulated CPUs, helpers, engines, a clock, random numbers. Thread-safe except where said
// otherwise.
class Machine {
 public:
  // EINVAL: a number of CPUs out of range.
  static Result<std::unique_ptr<Machine>> create(const MachineOptions& options,
                                                 std::span<const HelperRow> helpers,
                                                 std::unique_ptr<Engine> interpreter,
                                                 std::unique_ptr<Engine> jit);
  ~Machine();

  const MachineOptions& options() const { return options_; }
  unsigned cpus() const { return static_cast<unsigned>(cpus_.size()); }
  Cpu& cpu(unsigned id) { return *cpus_[id]; }
  maps::EpochDomain& epochs() { return epochs_; }
  const Engines& engines() const { return engines_; }
  HelperTable& helpers() { return helpers_; }
  Clock& clock() { return clock_; }
  DeviceTable& devices() { return devices_; }
  HostObjectTable& host_objects() { return host_objects_; }
  Task task() const;
  void set_task(Task task);  // not while programs run
  // The host's thread that stands for it: the calling one, or the process's first where the task is fixed.
  int task_thread() const;

  // A number from the machine's own stream; maps take their hash seeds from it.
  uint64_t next_random();
  maps::MapEnvironment map_environment();

  void trace(unsigned cpu, std::string_view line);
  void set_trace_sink(TraceSink sink);

  Timers& timers() { return *timers_; }
  void report_timer_fault(unsigned cpu, const Fault& fault);
  void set_timer_fault_sink(FaultSink sink);  // not while programs run

  // The part of that type, made on first use.
  template <class Part>
  Part& part() {
    std::scoped_lock lock(part_mutex_);
    if (!part_) part_ = std::make_unique<Part>(*this);
    return static_cast<Part&>(*part_);
  }

 private:
  Machine(const MachineOptions& options, std::span<const HelperRow> helpers,
          std::unique_ptr<Engine> interpreter, std::unique_ptr<Engine> jit);

  MachineOptions options_;
  HelperTable helpers_;
  Engines engines_;
  maps::EpochDomain epochs_;
  DeviceTable devices_;
  HostObjectTable host_objects_;
  Clock clock_;
  std::optional<Task> task_;
  std::mutex random_mutex_;
  Random random_;
  std::mutex trace_mutex_;
  TraceSink trace_sink_;
  FaultSink timer_fault_sink_;
  std::vector<std::unique_ptr<Cpu>> cpus_;
  std::unique_ptr<Timers> timers_;
  std::mutex part_mutex_;
  std::unique_ptr<MachinePart> part_;  // last: maps and programs go before what they stand on
};

}  // namespace skep::vm
