#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>

#include "tools/choice.hpp"
#include "tools/command.hpp"
#include "tools/machine_code.hpp"

namespace skep::tools {
namespace {

struct DisasmArguments {
  ObjectArguments object;
  bool jit = false;
  Mode mode = Mode::kChecked;
};

void print(const Program& program, bool jit) {
  const std::vector<ListedInstruction> listing = program.listing(jit);
  fmt::print("program {} (type {}, {} instructions)\n", program.name(), program.type(), listing.size());
  for (const ListedInstruction& instruction : listing) {
    if (instruction.line)
      fmt::print("; {} @ {}:{}\n", instruction.line->text, instruction.line->file, instruction.line->line);
    fmt::print("{:5}: {}\n", instruction.slot, instruction.text);
    for (const std::string& line : disassemble_machine_code(instruction.code))
      fmt::print("{:>12}{}\n", "", line);
  }
}

int disassemble(const DisasmArguments& arguments) {
  const auto failed = [](const Error& error, int status) {
    report_error(error.message);
    return status;
  };
  const auto machine = Machine::create({.mode = arguments.mode});
  if (!machine) return failed(machine.error(), kBadInput);
  const auto object = machine->open(arguments.object.path, arguments.object.options());
  if (!object) return failed(object.error(), kBadInput);
  std::vector<std::string> names;
  if (arguments.object.program.empty()) {
    for (const ProgramInfo& program : object->programs()) names.push_back(program.name);
    if (names.empty()) return failed({0, arguments.object.path + ": the object has no program"}, kBadInput);
  } else {
    names.push_back(arguments.object.program);
  }
  if (auto loaded = object->load(); !loaded) return failed(loaded.error(), kRefusedOrFaulted);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto program = object->program(names[i]);
    if (!program) return failed(program.error(), kBadInput);
    if (i != 0) fmt::print("\n");
    print(*program, arguments.jit);
  }
  return kDone;
}

}  // namespace

void add_disasm_command(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "disasm", "show a program's instructions with their source lines; all programs without --prog");
  auto arguments = std::make_shared<DisasmArguments>();
  arguments->object.add_to(*command, true);
  command->add_flag("--jit", arguments->jit, "show the JIT's x86-64 code beside each instruction");
  choose_from(command->add_option("--mode", arguments->mode,
                                  "the mode that the code is for: checked (the default) or verified"),
              std::map<std::string, Mode>{{"checked", Mode::kChecked}, {"verified", Mode::kVerified}});
  command->callback([arguments, &status] { status = disassemble(*arguments); });
}

}  // namespace skep::tools
