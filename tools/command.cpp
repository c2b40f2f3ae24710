#include "tools/command.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>

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

Result<std::string> choose_program(const Object& object, const ObjectArguments& arguments) {
  const std::vector<ProgramInfo> programs = object.programs();
  std::vector<std::string> names;
  for (const ProgramInfo& program : programs) names.push_back(program.name);
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
