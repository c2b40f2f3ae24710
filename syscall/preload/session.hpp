#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "vm/machine.hpp"

namespace skep::preload {

inline constexpr std::string_view kPossibleCpus = "/sys/devices/system/cpu/possible";
inline constexpr std::string_view kDescriptorInfo = "/proc/self/fdinfo/";

// What the environment asks for: SKEP_CPUS, SKEP_ENGINE, SKEP_MODE, SKEP_SEED, SKEP_TRACE.
struct Settings {
  vm::MachineOptions machine;
  bool cpus_given = false;
  bool trace = false;
};

// EINVAL: a variable has a value it cannot have; the message names it.
Result<Settings> read_settings();

// The one machine of a process, and the folders that the process takes for BPF file systems. Thread-safe.
class Session {
 public:
  // Made at the first use and never destroyed: other threads may be in it when the process ends. nullptr: it
  // cannot be made, which has been said on stderr.
  static Session* get();
  // The one there is; nullptr: none was needed yet.
  static Session* existing();

  vm::Machine& machine() { return *machine_; }
  const Settings& settings() const { return settings_; }

  // Whether a path is in a folder of the machine's: /sys/fs/bpf, or where the process mounted one.
  bool holds(const char* path) const;
  void mounted(const char* path);
  // false: there is one already.
  bool make_folder(const char* path);

  // The text of a file that only the machine can tell: the CPUs, and what is behind a descriptor.
  std::optional<std::string> file_text(const char* path);

 private:
  Session(const Settings& settings, std::unique_ptr<vm::Machine> machine);

  Settings settings_;
  std::unique_ptr<vm::Machine> machine_;
  mutable std::mutex mutex_;
  std::set<std::string> roots_;
  std::set<std::string> folders_;
};

// The CPUs that the host may have, as libbpf counts them.
unsigned host_cpus();

}  // namespace skep::preload
