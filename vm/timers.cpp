#include "vm/timers.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <limits>

#include "vm/engine.hpp"
#include "vm/machine.hpp"
#include "vm/program.hpp"
#include "vm/run.hpp"

namespace skep::vm {
namespace {

// Newer headers than Debian 12's have names for them.
constexpr uint64_t kAbsolute = 1;   // BPF_F_TIMER_ABS
constexpr uint64_t kCpuPinned = 2;  // BPF_F_TIMER_CPU_PIN: every timer fires where it was started

// A field's first word says whether a timer was set up there.
std::atomic_ref<uint64_t> mark_of(std::byte* field) {
  return std::atomic_ref(*reinterpret_cast<uint64_t*>(field));
}

}  // namespace

Timers::Timers(Machine& machine) : machine_(machine), cpus_(machine.cpus()) {}

Timers::~Timers() {
  // Programs that go may take maps with them, which ask us to forget their timers.
  std::unordered_map<const std::byte*, Shared> gone;
  {
    const std::scoped_lock lock(mutex_);
    gone.swap(by_field_);
    for (PerCpu& cpu : cpus_) cpu.queue.clear();
  }
}

Timers::Shared Timers::find(const std::byte* field) const {
  const auto found = by_field_.find(field);
  return found == by_field_.end() ? nullptr : found->second;
}

long Timers::init(std::byte* field, maps::Map& map, uint64_t flags) {
  if (flags != CLOCK_MONOTONIC && flags != CLOCK_REALTIME && flags != CLOCK_BOOTTIME) return -EINVAL;
  const std::scoped_lock lock(mutex_);
  auto [at, is_new] = by_field_.try_emplace(field);
  if (!is_new) return -EBUSY;
  // After the timer is known: see Map::set_used_by_user().
  if (!map.used_by_user()) {
    by_field_.erase(at);
    return -EPERM;
  }
  at->second = std::make_shared<Timer>(map, field, static_cast<int>(flags));
  // Release: pairs with the look in release(), which then finds the timer.
  mark_of(field).store(1, std::memory_order_release);
  return 0;
}

long Timers::set_callback(std::byte* field, const Subprogram& callback) {
  std::shared_ptr<const Program> before;  // goes without the lock
  const std::scoped_lock lock(mutex_);
  const Shared timer = find(field);
  if (!timer) return -EINVAL;
  if (!timer->map->used_by_user()) return -EPERM;
  before = std::exchange(timer->program, callback.program->shared_from_this());
  timer->callback = &callback;
  return 0;
}

// On the machine's clock, and always to come: a callback that starts its own timer again lets others go on.
uint64_t Timers::expiry_of(const Timer& timer, uint64_t nanoseconds, bool absolute) const {
  constexpr uint64_t kLatest = std::numeric_limits<int64_t>::max();  // KTIME_MAX
  const uint64_t now = machine_.clock().now_ns(CLOCK_MONOTONIC);
  // Times are signed in the kernel.
  if (nanoseconds > kLatest) return now + 1;
  const uint64_t since = absolute ? machine_.clock().now_ns(timer.clock) : 0;
  return std::min(now + std::max<uint64_t>(nanoseconds > since ? nanoseconds - since : 0, 1), kLatest);
}

long Timers::start(std::byte* field, uint64_t nanoseconds, uint64_t flags, const Cpu& cpu) {
  if ((flags & ~(kAbsolute | kCpuPinned)) != 0) return -EINVAL;
  const std::scoped_lock lock(mutex_);
  const Shared timer = find(field);
  if (!timer || !timer->program) return -EINVAL;
  dequeue(*timer);
  timer->due = {expiry_of(*timer, nanoseconds, (flags & kAbsolute) != 0), ++started_};
  timer->queued_on = cpu.id();
  cpus_[cpu.id()].queue.emplace(timer->due, timer);
  publish_next(cpu.id());
  return 0;
}

long Timers::cancel(std::byte* field, const Cpu& cpu) {
  std::shared_ptr<const Program> dropped;  // goes without the lock
  std::unique_lock lock(mutex_);
  const Shared timer = find(field);
  if (!timer) return -EINVAL;
  const Shared own = cpus_[cpu.id()].running;
  if (own == timer) return -EDEADLK;
  if (own && own->cancelling != 0) return -EDEADLK;
  dropped = std::move(timer->program);
  timer->callback = nullptr;
  const bool was_queued = dequeue(*timer);
  if (own) ++timer->cancelling;
  finished_.wait(lock, [&] { return timer->running_on == kNoCpu; });
  if (own) --timer->cancelling;
  // Its callback may have started it meanwhile, if somebody gave it another.
  return dequeue(*timer) || was_queued ? 1 : 0;
}

void Timers::release(std::byte* field) {
  // Acquire: pairs with init(). Who sets up a timer while its element goes is found when the element is used
  // again.
  if (mark_of(field).load(std::memory_order_acquire) == 0) return;
  Shared gone;
  std::shared_ptr<const Program> dropped;  // goes without the lock
  const std::scoped_lock lock(mutex_);
  gone = find(field);
  if (!gone) return;
  dequeue(*gone);
  dropped = std::move(gone->program);
  gone->callback = nullptr;
  by_field_.erase(field);
  mark_of(field).store(0, std::memory_order_relaxed);
}

void Timers::drop_all(const maps::Map& map, bool has_values) {
  std::vector<std::shared_ptr<const Program>> dropped;  // go without the lock
  const std::scoped_lock lock(mutex_);
  for (auto at = by_field_.begin(); at != by_field_.end();) {
    Timer& timer = *at->second;
    if (timer.map != &map) {
      ++at;
      continue;
    }
    dequeue(timer);
    dropped.push_back(std::move(timer.program));
    timer.callback = nullptr;
    if (has_values) mark_of(timer.field).store(0, std::memory_order_relaxed);
    at = by_field_.erase(at);
  }
}

bool Timers::dequeue(Timer& timer) {
  if (timer.queued_on == kNoCpu) return false;
  const unsigned cpu = std::exchange(timer.queued_on, kNoCpu);
  cpus_[cpu].queue.erase(timer.due);
  publish_next(cpu);
  return true;
}

// Relaxed: a hint that there is something to look for; whoever looks takes the lock.
void Timers::publish_next(unsigned cpu) {
  const auto& queue = cpus_[cpu].queue;
  machine_.cpu(cpu).next_timer.store(queue.empty() ? Cpu::kNoTimer : queue.begin()->first.first,
                                     std::memory_order_relaxed);
}

std::optional<Timers::Firing> Timers::take(unsigned cpu, uint64_t until) {
  const std::scoped_lock lock(mutex_);
  PerCpu& here = cpus_[cpu];
  if (here.queue.empty() || here.queue.begin()->first.first > until) return std::nullopt;
  const Shared timer = here.queue.begin()->second;
  dequeue(*timer);
  here.running = timer;
  timer->running_on = cpu;
  return Firing{timer, timer->program, timer->callback};
}

void Timers::fire(Cpu& cpu, const Firing& firing) {
  if (firing.callback) call(cpu, firing);
  {
    const std::scoped_lock lock(mutex_);
    firing.timer->running_on = kNoCpu;
    cpus_[cpu.id()].running.reset();
  }
  finished_.notify_all();
}

void Timers::call(Cpu& cpu, const Firing& firing) {
  maps::Map& map = *firing.timer->map;
  std::byte* value = firing.timer->field - map.spec().fields.find(maps::FieldKind::kTimer)->offset;
  // In whole words, as the kernel's keys lie.
  std::vector<uint64_t> key((map.spec().key_size + 7) / 8);
  map.key_of_value(value, key.data());
  cpu.run_callback(*firing.program, *firing.callback, default_run_options(machine_),
                   {reinterpret_cast<uintptr_t>(&map), reinterpret_cast<uintptr_t>(key.data()),
                    reinterpret_cast<uintptr_t>(value), 0, 0},
                   {reinterpret_cast<uintptr_t>(key.data()), map.spec().key_size});
  if (cpu.stopped()) machine_.report_timer_fault(cpu.id(), cpu.fault());
}

void Timers::run_due(Cpu& cpu) {
  const uint64_t now = machine_.clock().now_ns(CLOCK_MONOTONIC);
  if (cpu.next_timer.load(std::memory_order_relaxed) > now) return;
  while (const auto firing = take(cpu.id(), now)) fire(cpu, *firing);
}

std::optional<std::pair<unsigned, uint64_t>> Timers::earliest(uint64_t until,
                                                              const std::vector<bool>& left_out) {
  const std::scoped_lock lock(mutex_);
  std::optional<unsigned> first;
  Due due{until, std::numeric_limits<uint64_t>::max()};
  for (unsigned cpu = 0; cpu < cpus_.size(); ++cpu) {
    const auto& queue = cpus_[cpu].queue;
    if (left_out[cpu] || queue.empty() || queue.begin()->first >= due) continue;
    first = cpu;
    due = queue.begin()->first;
  }
  if (!first) return std::nullopt;
  return std::pair(*first, due.first);
}

size_t Timers::advance(uint64_t nanoseconds) {
  Clock& clock = machine_.clock();
  const uint64_t until = clock.now_ns(CLOCK_MONOTONIC) + (clock.simulated() ? nanoseconds : 0);
  std::vector<bool> left_out(machine_.cpus());
  size_t fired = 0;
  while (const auto next = earliest(until, left_out)) {
    Cpu& cpu = machine_.cpu(next->first);
    const CpuLock lock(cpu);
    if (!lock) {
      left_out[next->first] = true;
      continue;
    }
    if (clock.simulated()) clock.advance_to(next->second);
    const maps::EpochDomain::CpuGuard guard(machine_.epochs(), cpu.id());
    const auto firing = take(cpu.id(), next->second);
    if (!firing) continue;
    fire(cpu, *firing);
    ++fired;
  }
  if (clock.simulated()) clock.advance_to(until);
  return fired;
}

}  // namespace skep::vm
