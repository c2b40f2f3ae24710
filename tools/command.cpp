#include "tools/command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>

namespace skep::tools {

void report_error(const std::string& message) {
  fmt::print(stderr, "skep: {}\n", message.substr(0, message.find('\n')));
}

void ObjectArguments::add_to(CLI::App& command, bool with_program) {
  command.add_option("OBJ", path, "BPF object: an ELF file, or a file of bare instructions (of type raw)")
      ->required();
  if (with_program) command.add_option("--prog", program, "the program, where the object has several");
  command.add_option("--type", type,
                     "program type in place of the section's: xdp, sched_cls, socket_filter, raw, ...");
  command.add_option("--btf", kernel_btf, "kernel BTF to relocate against (CO-RE) in place of the host's");
}

ObjectOptions ObjectArguments::options() const {
  return {.type = type, .program = program, .kernel_btf = kernel_btf, .name = {}};
}

void add_jit_options(CLI::App& command, MachineOptions& machine) {
  static const std::map<std::string, bool Hardening::*> kHardenings{{"blinding", &Hardening::blinding},
                                                                    {"retpolines", &Hardening::retpolines},
                                                                    {"guard-pages", &Hardening::guard_pages}};
  command
      .add_option_function<std::vector<std::string>>(
          "--harden",
          [&machine](const std::vector<std::string>& names) {
            for (const std::string& name : names) machine.harden.*kHardenings.at(name) = true;
          },
          "which of blinding, retpolines and guard-pages, separated by commas: constants of the program "
          "are not in the JIT's code as they are; the JIT's indirect jumps are not predicted; pages without "
          "access lie around each CPU's stack")
      ->delimiter(',')
      ->check(CLI::IsMember(kHardenings))
      ->allow_extra_args(false);
  command.add_flag("--perf-map", machine.perf_map, "name the JIT's code for perf, in /tmp/perf-PID.map");
  command.add_flag("--gdb-jit", machine.gdb_jit, "name the JIT's code for GDB");
}

Result<std::string> choose_program(const Object& object, const ObjectArguments& arguments) {
  const std::vector<ProgramInfo> programs = object.programs();
  std::vector<std::string> names;
  for (const ProgramInfo& program : programs) names.push_back(program.name);
  // Where one alone can be run, it is meant.
  if (arguments.program.empty() && names.size() > 1 &&
      std::ranges::count_if(programs, &ProgramInfo::can_run) == 1)
    return std::ranges::find_if(programs, &ProgramInfo::can_run)->name;
  if (names.empty()) return fail(ENOENT, fmt::format("{}: the object has no program", arguments.path));
  const std::string list = fmt::format("{}", fmt::join(names, ", "));
  if (arguments.program.empty()) {
    if (names.size() == 1) return names.front();
    return fail(EINVAL,
                fmt::format("{}: several programs; choose one with --prog: {}", arguments.path, list));
  }
  for (const std::string& name : names)
    if (name == arguments.program) return name;
  return fail(ENOENT,
              fmt::format("{}: no program named '{}'; it has: {}", arguments.path, arguments.program, list));
}

}  // namespace skep::tools
