// Runs every instruction vector on every engine, in both modes where the vector does not ask for a fault.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/vectors/vector_file.hpp"
#include "vm_fixture.hpp"

namespace skep::test {
namespace {

vm::FaultKind kind_of(vectors::Fault fault) {
  switch (fault) {
    case vectors::Fault::kMemory:
      return vm::FaultKind::kMemory;
    case vectors::Fault::kFuel:
      return vm::FaultKind::kFuel;
    case vectors::Fault::kCallDepth:
      return vm::FaultKind::kCallDepth;
    case vectors::Fault::kBadCall:
      return vm::FaultKind::kBadCall;
  }
  return vm::FaultKind::kNone;
}

void run_vector(vm::Machine& machine, const vectors::Vector& vector, const Execution& execution) {
  const auto program = try_program(machine, vector.program);
  // A call that names no helper does not get as far as a run.
  if (!program && vector.fault == vectors::Fault::kBadCall) return;
  ASSERT_TRUE(program.has_value()) << program.error().message;
  std::vector<std::byte> memory;
  if (vector.memory)
    for (const uint8_t byte : *vector.memory) memory.push_back(std::byte{byte});
  vm::RunOptions options{execution.engine, execution.mode, vector.fuel.value_or(1'000'000)};
  vm::Cpu& cpu = machine.cpu(0);
  const vm::CpuLock lock(cpu);
  const vm::RunResult result = vm::run_raw(cpu, **program, memory, options);
  if (vector.fault) {
    ASSERT_TRUE(result.faulted);
    EXPECT_EQ(cpu.fault().kind, kind_of(*vector.fault)) << vm::describe(cpu.fault());
  } else {
    ASSERT_FALSE(result.faulted) << vm::describe(cpu.fault());
    EXPECT_EQ(result.r0, *vector.result);
  }
  if (!vector.memory_after) return;
  ASSERT_EQ(memory.size(), vector.memory_after->size());
  for (size_t i = 0; i < memory.size(); ++i)
    EXPECT_EQ(std::to_integer<unsigned>(memory[i]), unsigned{(*vector.memory_after)[i]}) << "byte " << i;
}

class VectorsOf : public testing::TestWithParam<std::string> {};

TEST_P(VectorsOf, GiveTheExpectedResultsOnEveryEngine) {
  const auto vectors = vectors::parse_file(GetParam());
  ASSERT_TRUE(vectors.has_value()) << vectors.error().message;
  ASSERT_FALSE(vectors->empty());
  const auto machine = make_machine();
  for (const vectors::Vector& vector : *vectors) {
    for (const Execution& execution : vector.fault ? checked_executions() : all_executions()) {
      SCOPED_TRACE(fmt::format("line {}: {} ({})", vector.line, vector.name, name_of(execution)));
      run_vector(*machine, vector, execution);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, VectorsOf, testing::ValuesIn(vectors::files()),
                         [](const auto& info) { return std::filesystem::path(info.param).stem().string(); });

}  // namespace
}  // namespace skep::test
