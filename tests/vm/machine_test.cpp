#include "vm/machine.hpp"

#include <gtest/gtest.h>

#include <set>

#include "helpers/helpers.hpp"
#include "jit/jit.hpp"
#include "vm/interpreter.hpp"
#include "vm_fixture.hpp"

namespace skep::test {
namespace {

Result<std::unique_ptr<vm::Machine>> machine_with(unsigned cpus) {
  return vm::Machine::create({.cpus = cpus}, helpers::builtin_helpers(), vm::make_interpreter(),
                             jit::make_jit());
}

TEST(Machine, HasOneTo1024Cpus) {
  EXPECT_FALSE(machine_with(0).has_value());
  EXPECT_FALSE(machine_with(1025).has_value());
  EXPECT_EQ((*machine_with(1))->cpus(), 1U);
  EXPECT_EQ((*machine_with(1024))->cpus(), 1024U);
}

TEST(Machine, SeedFixesClockAndRandomNumbersOfEveryCpu) {
  const auto first = make_machine(4);
  const auto second = make_machine(4);
  std::set<uint64_t> numbers;
  for (unsigned cpu = 0; cpu < 4; ++cpu) {
    const uint64_t number = first->cpu(cpu).random().next();
    EXPECT_EQ(number, second->cpu(cpu).random().next());
    numbers.insert(number);
  }
  EXPECT_EQ(numbers.size(), 4U) << "each CPU has a stream of its own";
  EXPECT_EQ(first->clock().monotonic_ns(), second->clock().monotonic_ns());
}

TEST(Machine, SimulatedClockNeverStandsStill) {
  const auto machine = make_machine();
  const uint64_t before = machine->clock().monotonic_ns();
  EXPECT_GT(machine->clock().monotonic_ns(), before);
  machine->clock().advance(1'000'000'000);
  EXPECT_GE(machine->clock().monotonic_ns(), before + 1'000'000'000);
}

class Runs : public testing::TestWithParam<Execution> {};

// A verified program reads neither.
class CheckedRuns : public Runs {};

TEST_P(CheckedRuns, RegistersStartAtZeroAndTheStackIsCleared) {
  const auto machine = make_machine();
  const auto dirty = make_program(*machine, "r1 = -1\n*(u64 *)(r10 - 8) = r1\nr0 = 0\nexit");
  const auto look = make_program(*machine, R"(
    r0 = *(u64 *)(r10 - 8)
    r0 |= r3
    r0 |= r4
    r0 |= r5
    r0 |= r6
    r0 |= r7
    r0 |= r8
    r0 |= r9
    exit)");
  vm::Cpu& cpu = machine->cpu(0);
  const vm::RunOptions options{GetParam().engine, GetParam().mode, 1000};
  EXPECT_FALSE(vm::run_raw(cpu, *dirty, {}, options).faulted);
  EXPECT_EQ(vm::run_raw(cpu, *look, {}, options).r0, 0U);
}

TEST_P(Runs, FuelBoundsAnEndlessLoop) {
  if (GetParam().mode == vm::Mode::kVerified) return;  // a verified program ends by itself
  const auto machine = make_machine();
  const auto program = make_program(*machine, "r0 = 0\nagain:\nr0 += 1\ngoto again");
  vm::Cpu& cpu = machine->cpu(0);
  const auto result = vm::run_raw(cpu, *program, {}, {GetParam().engine, GetParam().mode, 1000});
  ASSERT_TRUE(result.faulted);
  EXPECT_EQ(cpu.fault().kind, vm::FaultKind::kFuel);
  EXPECT_EQ(cpu.fault().slot, 2U);
  // The CPU is as good as new afterwards.
  const auto fine = make_program(*machine, "r0 = 5\nexit");
  const auto next = vm::run_raw(cpu, *fine, {}, {GetParam().engine, GetParam().mode, 1000});
  EXPECT_FALSE(next.faulted);
  EXPECT_EQ(next.r0, 5U);
}

INSTANTIATE_TEST_SUITE_P(Engines, CheckedRuns, testing::ValuesIn(checked_executions()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Engines, Runs, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace skep::test
