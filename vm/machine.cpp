#include "vm/machine.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <random>

#include "vm/packet.hpp"
#include "vm/timers.hpp"

namespace skep::vm {
namespace {

uint64_t host_random() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

Result<std::unique_ptr<Machine>> Machine::create(const MachineOptions& options,
                                                 std::span<const HelperRow> helpers,
                                                 std::unique_ptr<Engine> interpreter,
                                                 std::unique_ptr<Engine> jit) {
  if (options.cpus < 1 || options.cpus > kMaxCpus)
    return fail(EINVAL, fmt::format("a machine has 1 to {} CPUs, not {}", kMaxCpus, options.cpus));
  return std::unique_ptr<Machine>(new Machine(options, helpers, std::move(interpreter), std::move(jit)));
}

Machine::Machine(const MachineOptions& options, std::span<const HelperRow> helpers,
                 std::unique_ptr<Engine> interpreter, std::unique_ptr<Engine> jit)
    : options_(options),
      helpers_(helpers),
      engines_(std::move(interpreter), std::move(jit)),
      epochs_(options.cpus),
      host_objects_(epochs_),
      clock_(options.seed.has_value()),
      random_(options.seed ? *options.seed : host_random()) {
  if (options.seed) task_ = Task{1, 1, "skep"};
  cpus_.reserve(options.cpus);
  for (unsigned id = 0; id < options.cpus; ++id)
    cpus_.push_back(std::make_unique<Cpu>(*this, id, options.guard_pages));
  timers_ = std::make_unique<Timers>(*this);
}

Machine::~Machine() = default;

Task Machine::task() const {
  if (task_) return *task_;
  std::array<char, 16> comm{};
  prctl(PR_GET_NAME, comm.data());
  return {static_cast<uint32_t>(gettid()), static_cast<uint32_t>(getpid()), comm.data()};
}

void Machine::set_task(Task task) { task_ = std::move(task); }

int Machine::task_thread() const { return task_ ? getpid() : gettid(); }

uint64_t Machine::next_random() {
  std::scoped_lock lock(random_mutex_);
  return random_.next();
}

maps::MapEnvironment Machine::map_environment() {
  return {.cpus = cpus(),
          .epochs = &epochs_,
          .hash_seed = static_cast<uint32_t>(next_random()),
          .devices = &devices_,
          .timers = timers_.get(),
          .host_objects = &host_objects_};
}

void Machine::trace(unsigned cpu, std::string_view line) {
  std::scoped_lock lock(trace_mutex_);
  if (trace_sink_) trace_sink_(cpu, line);
}

void Machine::report_timer_fault(unsigned cpu, const Fault& fault) {
  if (timer_fault_sink_) timer_fault_sink_(cpu, fault);
}

void Machine::set_timer_fault_sink(FaultSink sink) { timer_fault_sink_ = std::move(sink); }

void Machine::set_trace_sink(TraceSink sink) {
  std::scoped_lock lock(trace_mutex_);
  trace_sink_ = std::move(sink);
}

}  // namespace skep::vm
