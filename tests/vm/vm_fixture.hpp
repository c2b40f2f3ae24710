#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vm/machine.hpp"
#include "vm/program.hpp"
#include "vm/run.hpp"

namespace skep::test {

// An engine in a mode, as a test parameter.
struct Execution {
  vm::EngineKind engine;
  vm::Mode mode;
};

std::string name_of(const Execution& execution);
std::vector<Execution> all_executions();
std::vector<Execution> checked_executions();

std::unique_ptr<vm::Machine> make_machine(unsigned cpus = 1);

// Assembles and admits a program; a failure is the test's.
std::shared_ptr<vm::Program> make_program(vm::Machine& machine, std::string_view text,
                                          std::string_view type = "raw",
                                          std::vector<std::shared_ptr<maps::Map>> maps = {});
Result<std::shared_ptr<vm::Program>> try_program(vm::Machine& machine, std::vector<isa::Encoded> code,
                                                 std::string_view type = "raw",
                                                 std::string_view license = "GPL",
                                                 std::vector<std::shared_ptr<maps::Map>> maps = {});
std::vector<isa::Encoded> assemble(std::string_view text);

// A map of the machine's; instructions refer to it by its index in the list given to make_program.
std::shared_ptr<maps::Map> make_map(vm::Machine& machine, uint32_t type, uint32_t key_size,
                                    uint32_t value_size, uint32_t max_entries, uint32_t flags = 0);

}  // namespace skep::test
