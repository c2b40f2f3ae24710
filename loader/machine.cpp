#include "skep/machine.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <skep/bpf.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>

#include "helpers/helpers.hpp"
#include "jit/jit.hpp"
#include "loader/object_state.hpp"
#include "loader/program_runner.hpp"
#include "syscall/bpf.hpp"
#include "vm/interpreter.hpp"
#include "vm/machine.hpp"
#include "vm/timers.hpp"

namespace skep {
namespace {

constexpr uintmax_t kMaxObjectSize = 256 * 1024 * 1024;

vm::MachineOptions internal_options(const MachineOptions& options) {
  return {.cpus = options.cpus,
          .seed = options.seed,
          .engine = options.engine == Engine::kJit ? vm::EngineKind::kJit : vm::EngineKind::kInterpreter,
          .mode = options.mode == Mode::kChecked ? vm::Mode::kChecked : vm::Mode::kVerified,
          .fuel = options.fuel,
          .guard_pages = options.harden.guard_pages};
}

jit::JitOptions jit_options(const MachineOptions& options) {
  return {.blind_constants = options.harden.blinding,
          .retpolines = options.harden.retpolines,
          .perf_map = options.perf_map,
          .gdb_objects = options.gdb_jit,
          .seed = options.seed,
          .warn = [](const std::string& message) { fmt::print(stderr, "skep: {}\n", message); }};
}

Result<vm::PassSet> passes_of(const MachineOptions& options) {
  vm::PassSet passes = vm::PassSet::all();
  for (const std::string& name : options.without_passes) {
    const auto pass = vm::find_pass(name);
    if (!pass)
      return fail(EINVAL, fmt::format("no pass '{}': there are {}", name, fmt::join(pass_names(), ", ")));
    passes = passes.without(*pass);
  }
  return passes;
}

Result<std::vector<std::byte>> read_file(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return fail(errno, fmt::format("{}: {}", path, std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) return fail(EINVAL, fmt::format("{}: not a regular file", path));
  if (static_cast<uintmax_t>(status.st_size) > kMaxObjectSize)
    return fail(EFBIG, fmt::format("{}: larger than {} bytes", path, kMaxObjectSize));
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(errno, fmt::format("{}: {}", path, std::strerror(errno)));
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) return fail(EIO, fmt::format("{}: cannot be read", path));
  return bytes;
}

}  // namespace

Result<Machine> Machine::create(const MachineOptions& options) try {
  const auto passes = passes_of(options);
  if (!passes) return std::unexpected(passes.error());
  vm::MachineOptions internal = internal_options(options);
  internal.passes = *passes;
  auto machine = vm::Machine::create(internal, helpers::builtin_helpers(), vm::make_interpreter(),
                                     jit::make_jit(jit_options(options)));
  if (!machine) return std::unexpected(machine.error());
  return Machine(std::move(*machine));
} catch (const std::bad_alloc&) {
  return fail(ENOMEM, "not enough memory for the machine");
}

std::vector<std::string> pass_names() {
  std::vector<std::string> names;
  for (const vm::PassRow& row : vm::kPasses) names.emplace_back(row.name);
  return names;
}

unsigned Machine::cpus() const { return machine_->cpus(); }

Result<Object> Machine::open(const std::string& path, const ObjectOptions& options) const {
  auto image = read_file(path);
  if (!image) return std::unexpected(image.error());
  auto state = loader::open_image(machine_, std::move(*image), path, options);
  if (!state) return std::unexpected(state.error());
  return Object(std::move(*state));
}

Result<Object> Machine::open(std::span<const std::byte> image, const ObjectOptions& options) const {
  const std::string label = options.name.empty() ? "object" : options.name;
  auto state = loader::open_image(machine_, {image.begin(), image.end()}, label, options);
  if (!state) return std::unexpected(state.error());
  return Object(std::move(*state));
}

void Machine::set_helper(uint32_t id, std::string name, Helper helper) {
  machine_->helpers().put_custom(id, std::move(name),
                                 [helper = std::move(helper)](std::span<const uint64_t, 5> a, vm::Cpu& cpu) {
                                   HelperCall call(cpu);
                                   return helper(a, call);
                                 });
}

void Machine::set_trace_sink(std::function<void(unsigned cpu, std::string_view line)> sink) {
  machine_->set_trace_sink(std::move(sink));
}

Result<void> Machine::add_device(DeviceOptions options) const {
  return machine_->devices().add({.ifindex = options.ifindex,
                                  .name = std::move(options.name),
                                  .mtu = options.mtu,
                                  .up = options.up,
                                  .takes_redirects = true,
                                  .replaceable = false,
                                  .on_sent = std::move(options.on_sent)});
}

Result<void> Machine::set_device_up(uint32_t ifindex, bool up) const {
  vm::Device* device = machine_->devices().find(ifindex);
  if (!device) return fail(ENODEV, fmt::format("there is no device {}", ifindex));
  device->set_up(up);
  return {};
}

size_t Machine::advance_clock(uint64_t nanoseconds) { return machine_->timers().advance(nanoseconds); }

void Machine::set_timer_fault_sink(std::function<void(unsigned cpu, const Fault& fault)> sink) {
  machine_->set_timer_fault_sink([sink = std::move(sink)](unsigned cpu, const vm::Fault& fault) {
    if (sink) sink(cpu, loader::public_fault(fault));
  });
}

long Machine::bpf(int command, union bpf_attr* attributes, unsigned size) const {
  return sys::bpf(*machine_, command, attributes, size);
}

unsigned HelperCall::cpu() const { return cpu_->id(); }
bool HelperCall::may_access(uint64_t address, uint64_t size, bool write) const {
  return cpu_->may_access(*cpu_->run().program, address, size, write);
}
uint64_t HelperCall::call_back(uint64_t callback, const std::array<uint64_t, 5>& arguments) const {
  return cpu_->call_back(callback, arguments);
}
bool HelperCall::stopped() const { return cpu_->stopped(); }
void HelperCall::grant(std::span<const std::byte> memory) const { cpu_->grant(memory.data(), memory.size()); }

std::vector<std::string> program_type_names() {
  std::vector<std::string> names;
  for (const vm::ProgramType& type : vm::program_types()) names.emplace_back(type.name);
  return names;
}

}  // namespace skep

struct skep_machine {
  skep::Machine machine;
};

extern "C" struct skep_machine* skep_machine_new(unsigned int cpus, uint64_t seed) {
  skep::MachineOptions options{.cpus = cpus};
  if (seed != 0) options.seed = seed;
  auto machine = skep::Machine::create(options);
  if (machine) return new (std::nothrow) skep_machine{std::move(*machine)};
  errno = machine.error().code;
  return nullptr;
}

extern "C" void skep_machine_free(struct skep_machine* machine) { delete machine; }

extern "C" long skep_bpf(struct skep_machine* machine, int cmd, union bpf_attr* attr, unsigned int size) {
  const long result = machine->machine.bpf(cmd, attr, size);
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}
