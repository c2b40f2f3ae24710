#include "vm_fixture.hpp"

#include "helpers/helpers.hpp"
#include "isa/assemble.hpp"
#include "jit/jit.hpp"
#include "vm/interpreter.hpp"

namespace skep::test {

std::string name_of(const Execution& execution) {
  return std::string(execution.engine == vm::EngineKind::kJit ? "Jit" : "Interpreter") +
         (execution.mode == vm::Mode::kChecked ? "Checked" : "Verified");
}

std::vector<Execution> checked_executions() {
  return {{vm::EngineKind::kInterpreter, vm::Mode::kChecked}, {vm::EngineKind::kJit, vm::Mode::kChecked}};
}

std::vector<Execution> all_executions() {
  auto out = checked_executions();
  out.push_back({vm::EngineKind::kInterpreter, vm::Mode::kVerified});
  out.push_back({vm::EngineKind::kJit, vm::Mode::kVerified});
  return out;
}

std::unique_ptr<vm::Machine> make_machine(unsigned cpus) {
  auto machine = vm::Machine::create({.cpus = cpus, .seed = 1}, helpers::builtin_helpers(),
                                     vm::make_interpreter(), jit::make_jit());
  EXPECT_TRUE(machine.has_value());
  return std::move(*machine);
}

std::vector<isa::Encoded> assemble(std::string_view text) {
  const auto program = isa::assemble(text);
  if (!program) ADD_FAILURE() << "line " << program.error().line << ": " << program.error().message;
  return program ? isa::encode(*program) : std::vector<isa::Encoded>();
}

Result<std::shared_ptr<vm::Program>> try_program(vm::Machine& machine, std::vector<isa::Encoded> code,
                                                 std::string_view type, std::string_view license,
                                                 std::vector<std::shared_ptr<maps::Map>> maps) {
  vm::ProgramSpec spec;
  spec.type = vm::find_program_type(type);
  spec.name = "test";
  spec.license = license;
  spec.instructions = std::move(code);
  const auto resolve = [&](int32_t value, bool) -> Result<std::shared_ptr<maps::Map>> {
    if (value < 0 || static_cast<size_t>(value) >= maps.size()) return fail(EBADF, "no such map");
    return maps[static_cast<size_t>(value)];
  };
  return vm::Program::create(std::move(spec), {machine.helpers(), machine.engines(), 1}, resolve);
}

std::shared_ptr<vm::Program> make_program(vm::Machine& machine, std::string_view text, std::string_view type,
                                          std::vector<std::shared_ptr<maps::Map>> maps) {
  auto program = try_program(machine, assemble(text), type, "GPL", std::move(maps));
  if (!program) ADD_FAILURE() << program.error().message;
  return program ? *program : nullptr;
}

std::shared_ptr<maps::Map> make_map(vm::Machine& machine, uint32_t type, uint32_t key_size,
                                    uint32_t value_size, uint32_t max_entries, uint32_t flags) {
  maps::MapSpec spec;
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  auto map = maps::create_map(spec, machine.map_environment());
  if (!map) ADD_FAILURE() << map.error().message;
  return map ? *map : nullptr;
}

}  // namespace skep::test
