#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "maps/map.hpp"
#include "vm/lowering.hpp"

namespace skep::vm {

class Cpu;
class Machine;
class Program;

// The timers in the machine's maps (struct bpf_timer). A value's field only says that there is one; what it
// is lies here. Semantics: kernel/bpf/helpers.c.
//
// A timer fires on the CPU that started it: by whoever drives that CPU, before its next run once the timer is
// due, or by advance(). Its callback is a run of its own, in the machine's engine and mode.
//
// Thread-safe, with one lock; no callback runs under it.
class Timers final : public maps::TimerKeeper {
 public:
  explicit Timers(Machine& machine);
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;
  // Nobody runs any more. Lets go of the programs that callbacks belong to.
  ~Timers();

  // The helpers: 0 or a negative error number; cancel(): whether the timer was running.
  // EINVAL: an unknown clock. EBUSY: it is set up already. EPERM: user space has let go of the map.
  long init(std::byte* field, maps::Map& map, uint64_t flags);
  // EINVAL: not set up. EPERM as init().
  long set_callback(std::byte* field, const Subprogram& callback);
  // EINVAL: not set up, without a callback, or unknown flags.
  long start(std::byte* field, uint64_t nanoseconds, uint64_t flags, const Cpu& cpu);
  // Waits for a callback that runs on another CPU. EINVAL: not set up. EDEADLK: called by its own callback,
  // or by one that another callback waits for.
  long cancel(std::byte* field, const Cpu& cpu);

  void release(std::byte* field) override;
  void release_all(const maps::Map& map) override { drop_all(map, true); }
  void forget(const maps::Map& map) override { drop_all(map, false); }

  // Fires what is due on a CPU, in order of expiry. For the thread that drives it, inside the CPU's epoch and
  // between two runs.
  void run_due(Cpu& cpu);
  // Moves a simulated clock on by so much, and fires what becomes due meanwhile on any CPU, each at its time.
  // With the host's clock: what is due now. Returns how many fired. CPUs that somebody holds for longer are
  // left out. Not to be called from within a run.
  size_t advance(uint64_t nanoseconds);

 private:
  static constexpr unsigned kNoCpu = UINT32_MAX;
  // When it is due; of equal ones that comes first which was started first.
  using Due = std::pair<uint64_t, uint64_t>;

  struct Timer {
    Timer(maps::Map& of, std::byte* at, int on) : map(&of), field(at), clock(on) {}

    maps::Map* map;
    std::byte* field;
    int clock;
    std::shared_ptr<const Program> program;  // nullptr: no callback
    const Subprogram* callback = nullptr;
    Due due;
    unsigned queued_on = kNoCpu;
    unsigned running_on = kNoCpu;
    unsigned cancelling = 0;  // callbacks that wait for its own
  };
  using Shared = std::shared_ptr<Timer>;
  struct PerCpu {
    std::map<Due, Shared> queue;
    Shared running;
  };
  // A timer on its way out of the queue, with what keeps its callback and its map alive.
  struct Firing {
    Shared timer;
    std::shared_ptr<const Program> program;
    const Subprogram* callback = nullptr;
  };

  Shared find(const std::byte* field) const;
  bool dequeue(Timer& timer);
  void drop_all(const maps::Map& map, bool has_values);
  void publish_next(unsigned cpu);
  std::optional<Firing> take(unsigned cpu, uint64_t until);
  std::optional<std::pair<unsigned, uint64_t>> earliest(uint64_t until, const std::vector<bool>& left_out);
  void fire(Cpu& cpu, const Firing& firing);
  void call(Cpu& cpu, const Firing& firing);
  uint64_t expiry_of(const Timer& timer, uint64_t nanoseconds, bool absolute) const;

  Machine& machine_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::unordered_map<const std::byte*, Shared> by_field_;
  std::vector<PerCpu> cpus_;
  uint64_t started_ = 0;
};

}  // namespace skep::vm
