#include <gtest/gtest.h>

#include <cstring>

#include "vm_fixture.hpp"

namespace skep::test {
namespace {

class Helpers : public testing::TestWithParam<Execution> {
 protected:
  vm::RunResult run(std::string_view text, std::vector<std::shared_ptr<maps::Map>> maps = {},
                    unsigned cpu = 0, std::span<std::byte> memory = {}) {
    programs_.push_back(make_program(*machine_, text, "raw", std::move(maps)));
    if (!programs_.back()) return {};
    return vm::run_raw(machine_->cpu(cpu), *programs_.back(), memory,
                       {GetParam().engine, GetParam().mode, 100'000'000});
  }
  bool checked() const { return GetParam().mode == vm::Mode::kChecked; }
  const vm::Fault& fault(unsigned cpu = 0) { return machine_->cpu(cpu).fault(); }

  std::unique_ptr<vm::Machine> machine_ = make_machine(4);
  std::vector<std::shared_ptr<vm::Program>> programs_;  // a fault names its program
};

constexpr const char* kLookup = R"(
    *(u32 *)(r10 - 4) = 2
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto missing
    r0 = *(u64 *)(r0 + 0)
    exit
  missing:
    r0 = -1
    exit)";

TEST_P(Helpers, MapElementsAreFoundUpdatedAndDeleted) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_HASH, 4, 8, 8);
  EXPECT_EQ(run(kLookup, {map}).r0, ~0ULL);
  const char* update = R"(
    *(u32 *)(r10 - 4) = 2
    *(u64 *)(r10 - 16) = 77
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 1
    call 2
    exit)";
  EXPECT_EQ(run(update, {map}).r0, 0U);
  EXPECT_EQ(static_cast<int64_t>(run(update, {map}).r0), -EEXIST) << "BPF_NOEXIST";
  EXPECT_EQ(run(kLookup, {map}).r0, 77U);
  const char* erase = "*(u32 *)(r10 - 4) = 2\nr1 = map_by_fd(0)\nr2 = r10\nr2 += -4\ncall 3\nexit";
  EXPECT_EQ(run(erase, {map}).r0, 0U);
  EXPECT_EQ(static_cast<int64_t>(run(erase, {map}).r0), -ENOENT);
}

TEST_P(Helpers, APointerBeyondAnElementsValueIsAFault) {
  if (!checked()) return;
  const auto map = make_map(*machine_, BPF_MAP_TYPE_ARRAY, 4, 12, 8);
  // The value is 12 bytes; the next element begins 16 bytes on.
  const auto access = [&](const char* what) {
    return run(std::string(R"(
      *(u32 *)(r10 - 4) = 2
      r1 = map_by_fd(0)
      r2 = r10
      r2 += -4
      call 1
      )") + what + "\nr0 = 0\nexit",
               {map});
  };
  EXPECT_FALSE(access("r1 = *(u32 *)(r0 + 8)").faulted);
  EXPECT_TRUE(access("r1 = *(u64 *)(r0 + 8)").faulted) << "reaches 4 bytes over the value";
  EXPECT_TRUE(access("r1 = *(u8 *)(r0 + 12)").faulted) << "between two elements";
  EXPECT_TRUE(access("r1 = *(u64 *)(r0 - 8)").faulted) << "across the element before";
  EXPECT_EQ(fault().kind, vm::FaultKind::kMemory);
  EXPECT_EQ(fault().size, 8U);
}

TEST_P(Helpers, HelperArgumentsAreHeldAgainstTheirKinds) {
  if (!checked()) return;
  const auto map = make_map(*machine_, BPF_MAP_TYPE_HASH, 4, 8, 8);
  EXPECT_TRUE(run("r1 = 0\nr2 = r10\nr2 += -4\ncall 1\nexit", {map}).faulted) << "no map";
  EXPECT_EQ(fault().kind, vm::FaultKind::kBadCall);
  EXPECT_TRUE(run("r1 = map_by_fd(0)\nr2 = 0\ncall 1\nexit", {map}).faulted) << "no key";
  EXPECT_EQ(fault().kind, vm::FaultKind::kMemory);
  EXPECT_EQ(fault().size, 4U);
  EXPECT_STREQ(fault().helper, "map_lookup_elem");
  EXPECT_TRUE(
      run("r1 = map_by_fd(0)\nr2 = r10\nr2 += -4\ncall 1\nr0 = 0\nr1 = 8\ncall 181\nexit", {map}).faulted)
      << "a loop whose callback is no function";
  EXPECT_EQ(fault().kind, vm::FaultKind::kBadCall);
}

TEST_P(Helpers, PerCpuValuesBelongToTheCpuThatRuns) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4);
  const char* count = R"(
    *(u32 *)(r10 - 4) = 2
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto missing
    r1 = *(u64 *)(r0 + 0)
    r1 += 1
    *(u64 *)(r0 + 0) = r1
  missing:
    r0 = 0
    exit)";
  for (const unsigned cpu : {1U, 3U, 3U}) run(count, {map}, cpu);
  const char* sum = R"(
    *(u32 *)(r10 - 4) = 2
    r6 = 0
    r7 = 0
  next:
    r1 = map_by_fd(0)
    r2 = r10
    r2 += -4
    r3 = r7
    call 195
    if r0 == 0 goto done
    r6 <<= 8
    r1 = *(u64 *)(r0 + 0)
    r6 |= r1
    r7 += 1
    goto next
  done:
    r0 = r6
    exit)";
  EXPECT_EQ(run(sum, {map}).r0, 0x00010002U) << "CPUs 0 to 3, and NULL for CPU 4";
}

constexpr const char* kForEach = R"(
    r6 = 0
    *(u64 *)(r10 - 8) = r6
    r1 = map_by_fd(0)
    r2 = code_addr(visit)
    r3 = r10
    r3 += -8
    r4 = 0
    call 164
    r1 = *(u64 *)(r10 - 8)
    r0 <<= 32
    r0 |= r1
    exit
  visit:
    r5 = *(u32 *)(r2 + 0)
    r3 = *(u64 *)(r3 + 0)
    r3 += r5
    r5 = *(u64 *)(r4 + 0)
    r5 += r3
    *(u64 *)(r4 + 0) = r5
    r0 = 0
    exit)";

TEST_P(Helpers, ForEachVisitsKeysAndValues) {
  const auto map = make_map(*machine_, BPF_MAP_TYPE_ARRAY, 4, 8, 3);
  for (uint32_t i = 0; i < 3; ++i) {
    const uint64_t value = 10 * (i + 1);
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    map->write(&i, &value, 0);
  }
  const auto result = run(kForEach, {map});
  ASSERT_FALSE(result.faulted) << vm::describe(fault());
  EXPECT_EQ(result.r0, 3ULL << 32 | 63U);
}

TEST_P(Helpers, LoopCountsItsIterations) {
  const auto loop = [&](const char* count, const char* returned) {
    return run(std::string("r1 = ") + count + R"(
    r2 = code_addr(body)
    r3 = 0
    r4 = 0
    call 181
    exit
  body:
    r0 = )" + returned +
               "\nexit");
  };
  EXPECT_EQ(loop("5", "0").r0, 5U);
  EXPECT_EQ(loop("5", "1").r0, 1U);
  EXPECT_EQ(static_cast<int64_t>(loop("8388609", "0").r0), -E2BIG);
  EXPECT_EQ(loop("100000000", "0").r0, static_cast<uint64_t>(-E2BIG));
}

TEST_P(Helpers, AFaultInACallbackEndsTheRun) {
  if (!checked()) return;
  const auto result = run(R"(
    r1 = 5
    r2 = code_addr(body)
    r3 = 0
    r4 = 0
    call 181
    exit
  body:
    r0 = 0
    r0 = *(u64 *)(r0 + 0)
    exit)");
  ASSERT_TRUE(result.faulted);
  EXPECT_EQ(fault().slot, 8U);
  EXPECT_EQ(fault().address, 0U);
}

TEST_P(Helpers, TracePrintkFormatsAsTheKernelDoes) {
  std::vector<std::string> lines;
  machine_->set_trace_sink([&](unsigned cpu, std::string_view line) {
    lines.push_back(std::to_string(cpu) + " " + std::string(line));
  });
  std::string format = "%d %u %llx %%\n";
  std::vector<std::byte> memory(format.size() + 1);
  std::memcpy(memory.data(), format.c_str(), format.size() + 1);
  const auto result = run("r3 = -5\nr4 = -1\nr5 = -1\ncall 6\nexit", {}, 2, memory);
  ASSERT_FALSE(result.faulted) << vm::describe(fault(2));
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0], "2 -5 4294967295 ffffffffffffffff %");
  EXPECT_EQ(result.r0, std::string("-5 4294967295 ffffffffffffffff %\n").size());
  const std::string bad = "%f";
  std::memset(memory.data(), 0, memory.size());
  std::memcpy(memory.data(), bad.c_str(), bad.size());
  EXPECT_EQ(static_cast<int64_t>(run("call 6\nexit", {}, 0, memory).r0), -EINVAL);
}

TEST_P(Helpers, AProgramThatAnotherReturnedIntoIsItselfAgain) {
  std::vector<std::string> lines;
  machine_->set_trace_sink([&](unsigned, std::string_view line) { lines.emplace_back(line); });
  const auto text = make_map(*machine_, BPF_MAP_TYPE_ARRAY, 4, 8, 1);
  const auto targets = make_map(*machine_, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
  const uint32_t key = 0;
  {
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    std::array<char, 8> bytes = {'m', 'e', 0};
    ASSERT_EQ(text->write(&key, bytes.data(), 0), 0);
    ASSERT_EQ(targets->set_object(0, make_program(*machine_, "r0 = 3\nexit")), 0);
  }
  // "%s" of a map that the tail call's target does not have.
  const auto result = run(R"(
    call leaves
    r6 = r0
    *(u32 *)(r10 - 4) = 0x7325
    r1 = r10
    r1 += -4
    r2 = 4
    r3 = map_val(map_by_fd(0))
    call 6
    r0 = r6
    exit
  leaves:
    r2 = map_by_fd(1)
    r3 = 0
    call 12
    r0 = 9
    exit)",
                          {text, targets});
  ASSERT_FALSE(result.faulted) << vm::describe(fault());
  EXPECT_EQ(result.r0, 3U);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0], "me");
}

TEST_P(Helpers, ACallbackThatIsNoFunctionIsAFault) {
  if (!checked()) return;
  machine_->helpers().put_custom(
      60001, "calls",
      [](std::span<const uint64_t, 5> a, vm::Cpu& cpu) -> uint64_t { return cpu.call_back(a[0], {}); });
  EXPECT_TRUE(run("r1 = 64\ncall 60001\nexit").faulted);
  EXPECT_EQ(fault().kind, vm::FaultKind::kBadCall);
  EXPECT_EQ(fault().address, 64U);
}

TEST_P(Helpers, StrncmpOrders) {
  // memory: "abc\0abd\0"
  std::vector<std::byte> memory;
  for (const char c : std::string("abc\0abd\0", 8)) memory.push_back(static_cast<std::byte>(c));
  const char* compare = "r3 = r1\nr3 += 4\nr2 = 4\ncall 182\nexit";
  EXPECT_EQ(static_cast<int64_t>(run(compare, {}, 0, memory).r0), -1);
  EXPECT_EQ(run("r3 = r1\nr3 += 4\nr2 = 2\ncall 182\nexit", {}, 0, memory).r0, 0U);
}

TEST_P(Helpers, EnvironmentIsTheMachines) {
  EXPECT_EQ(run("call 8\nexit", {}, 3).r0, 3U);
  EXPECT_EQ(run("call 42\nexit").r0, 0U);
  EXPECT_EQ(run("call 14\nexit").r0, 1ULL << 32 | 1U);
  EXPECT_LE(run("call 7\nexit").r0, 0xffffffffU);
  const auto comm = run("r1 = r10\nr1 += -8\nr2 = 8\ncall 16\nr0 = *(u64 *)(r10 - 8)\nexit");
  EXPECT_EQ(comm.r0, 0x70656b73U) << "skep, and zeros behind it";
  const uint64_t early = run("call 5\nexit").r0;
  EXPECT_GT(run("call 125\nexit").r0, early);
}

TEST_P(Helpers, ACustomHelperTakesAnothersPlace) {
  machine_->helpers().put_custom(
      5, "ktime_get_ns",
      [](std::span<const uint64_t, 5>, vm::Cpu& cpu) -> uint64_t { return 1000 + cpu.id(); });
  EXPECT_EQ(run("call 5\nexit", {}, 2).r0, 1002U);
  machine_->helpers().put_custom(60000, "sum", [](std::span<const uint64_t, 5> a, vm::Cpu&) -> uint64_t {
    return a[0] + a[1] + a[2] + a[3] + a[4];
  });
  EXPECT_EQ(run("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 60000\nexit").r0, 15U);
  EXPECT_EQ(run("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\nr6 = 60000\ncallx r6\nexit").r0, 15U);
}

INSTANTIATE_TEST_SUITE_P(Engines, Helpers, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace skep::test
