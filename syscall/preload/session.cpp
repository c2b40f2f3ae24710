#include "syscall/preload/session.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include "helpers/helpers.hpp"
#include "jit/jit.hpp"
#include "syscall/bpf.hpp"
#include "syscall/pins.hpp"
#include "vm/interpreter.hpp"

namespace skep::preload {
namespace {

template <class T>
Result<T> number(const char* variable, std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    return fail(EINVAL, fmt::format("{}: '{}' is not a number", variable, text));
  return value;
}

Result<bool> choice(const char* variable, const char* no, const char* yes) {
  const char* text = std::getenv(variable);
  if (!text || std::string_view(text) == yes) return true;
  if (std::string_view(text) == no) return false;
  return fail(EINVAL, fmt::format("{}: '{}' is neither {} nor {}", variable, text, no, yes));
}

std::unique_ptr<vm::Machine> make_machine(const Settings& settings) {
  auto machine = vm::Machine::create(settings.machine, helpers::builtin_helpers(), vm::make_interpreter(),
                                     jit::make_jit());
  if (!machine) {
    fmt::print(stderr, "skep: {}\n", machine.error().message);
    return nullptr;
  }
  if (settings.trace)
    (*machine)->set_trace_sink(
        [](unsigned cpu, std::string_view line) { fmt::print(stderr, "[{:03}] {}\n", cpu, line); });
  return std::move(*machine);
}

std::atomic<Session*>& session() {
  static std::atomic<Session*> instance{nullptr};
  return instance;
}

}  // namespace

// Without the C library's open, which is ours and would come back here.
unsigned host_cpus() {
  std::array<char, 4096> text{};
  const long file = syscall(SYS_openat, AT_FDCWD, kPossibleCpus.data(), O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    (void)!read(static_cast<int>(file), text.data(), text.size() - 1);
    close(static_cast<int>(file));
  }
  std::istringstream ranges(text.data());
  unsigned count = 0;
  for (std::string range; std::getline(ranges, range, ',');) {
    unsigned first = 0;
    unsigned last = 0;
    const int found = std::sscanf(range.c_str(), "%u-%u", &first, &last);
    if (found == 1) last = first;
    if (found >= 1 && last >= first) count += last - first + 1;
  }
  return count == 0 ? 1 : count;
}

Result<Settings> read_settings() {
  Settings settings;
  if (const char* cpus = std::getenv("SKEP_CPUS")) {
    const auto count = number<unsigned>("SKEP_CPUS", cpus);
    if (!count) return std::unexpected(count.error());
    settings.machine.cpus = *count;
    settings.cpus_given = true;
  } else {
    settings.machine.cpus = host_cpus();
  }
  if (const char* seed = std::getenv("SKEP_SEED")) {
    const auto value = number<uint64_t>("SKEP_SEED", seed);
    if (!value) return std::unexpected(value.error());
    settings.machine.seed = *value;
  }
  const auto jit = choice("SKEP_ENGINE", "interp", "jit");
  if (!jit) return std::unexpected(jit.error());
  settings.machine.engine = *jit ? vm::EngineKind::kJit : vm::EngineKind::kInterpreter;
  const auto checked = choice("SKEP_MODE", "verified", "checked");
  if (!checked) return std::unexpected(checked.error());
  settings.machine.mode = *checked ? vm::Mode::kChecked : vm::Mode::kVerified;
  const char* trace = std::getenv("SKEP_TRACE");
  settings.trace = trace && std::string_view(trace) == "1";
  return settings;
}

Session::Session(const Settings& settings, std::unique_ptr<vm::Machine> machine)
    : settings_(settings), machine_(std::move(machine)), roots_{"/sys/fs/bpf"} {}

Session* Session::existing() {
  // Acquire pairs with the release in get().
  return session().load(std::memory_order_acquire);
}

Session* Session::get() {
  static std::once_flag once;
  std::call_once(once, [] {
    auto settings = read_settings();
    if (!settings) {
      fmt::print(stderr, "skep: {}\n", settings.error().message);
      return;
    }
    if (auto machine = make_machine(*settings))
      session().store(new Session(*settings, std::move(machine)), std::memory_order_release);
  });
  return existing();
}

bool Session::holds(const char* path) const {
  const std::string full = sys::absolute_path(path);
  std::scoped_lock lock(mutex_);
  for (const std::string& root : roots_)
    if (full.starts_with(root) && (full.size() == root.size() || full[root.size()] == '/')) return true;
  return false;
}

void Session::mounted(const char* path) {
  std::scoped_lock lock(mutex_);
  roots_.insert(sys::absolute_path(path));
}

bool Session::make_folder(const char* path) {
  const std::string full = sys::absolute_path(path);
  std::scoped_lock lock(mutex_);
  return !roots_.contains(full) && folders_.insert(full).second;
}

std::optional<std::string> Session::file_text(const char* path) {
  const std::string_view name = path;
  if (name == kPossibleCpus) {
    if (!settings_.cpus_given) return std::nullopt;
    const unsigned cpus = machine_->cpus();
    return cpus == 1 ? "0\n" : fmt::format("0-{}\n", cpus - 1);
  }
  if (!name.starts_with(kDescriptorInfo)) return std::nullopt;
  const auto descriptor = number<int>("", name.substr(kDescriptorInfo.size()));
  return descriptor ? sys::descriptor_info(*machine_, *descriptor) : std::nullopt;
}

}  // namespace skep::preload
