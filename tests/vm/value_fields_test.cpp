#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "vm/timers.hpp"
#include "vm_fixture.hpp"

namespace skep::test {
namespace {

using maps::FieldKind;

constexpr uint32_t kValueSize = 48;
// { u64 number; lock at 8; u32 at 12; timer at 16; kptr at 32; kptr_untrusted at 40 }
constexpr std::array kFields{
    maps::ValueField{FieldKind::kSpinLock, 8, 4}, maps::ValueField{FieldKind::kTimer, 16, 16},
    maps::ValueField{FieldKind::kPointer, 32, 8}, maps::ValueField{FieldKind::kUntrustedPointer, 40, 8}};

// r6: the value of key 1; where it is not, the program returns 999.
constexpr const char* kFind = R"(
  *(u32 *)(r10 - 4) = 1
  r1 = map_by_fd(0)
  r2 = r10
  r2 += -4
  call 1
  if r0 != 0 goto found
  r0 = 999
  exit
found:
  r6 = r0
)";

class ValueFields : public testing::TestWithParam<Execution> {
 protected:
  std::shared_ptr<maps::Map> make(uint32_t type = BPF_MAP_TYPE_ARRAY) {
    maps::MapSpec spec;
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = kValueSize;
    spec.max_entries = 8;
    spec.fields = maps::ValueFields(kFields);
    auto map = maps::create_map(spec, machine_->map_environment());
    EXPECT_TRUE(map.has_value());
    return *map;
  }
  vm::RunResult run(const std::string& text, unsigned cpu = 0, bool find = true) {
    programs_.push_back(make_program(*machine_, (find ? kFind : "") + text, "raw", {map_}));
    if (!programs_.back()) return {};
    return vm::run_raw(machine_->cpu(cpu), *programs_.back(), {}, options());
  }
  int64_t result(const std::string& text, unsigned cpu = 0) {
    const vm::RunResult out = run(text, cpu);
    EXPECT_FALSE(out.faulted) << vm::describe(fault(cpu));
    return static_cast<int64_t>(out.r0);
  }
  vm::RunOptions options() const { return {GetParam().engine, GetParam().mode, 100'000'000}; }
  bool checked() const { return GetParam().mode == vm::Mode::kChecked; }
  const vm::Fault& fault(unsigned cpu = 0) { return machine_->cpu(cpu).fault(); }
  void expect_lock_fault(const std::string& text, const char* words) {
    EXPECT_TRUE(run(text).faulted);
    EXPECT_EQ(fault().kind, vm::FaultKind::kLock);
    EXPECT_NE(vm::describe(fault()).find(words), std::string::npos) << vm::describe(fault());
    // Whatever a program did, the lock is free afterwards.
    EXPECT_EQ(result("r1 = r6\nr1 += 8\ncall 93\nr1 = r6\nr1 += 8\ncall 94\nr0 = 5\nexit"), 5);
  }
  uint64_t number(uint32_t key = 1) {
    std::array<uint64_t, kValueSize / 8> value{};
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    EXPECT_EQ(map_->read(&key, value.data(), 0), 0);
    return value[0];
  }
  void write(uint32_t key) {
    const std::array<uint64_t, kValueSize / 8> value{};
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    EXPECT_EQ(map_->write(&key, value.data(), 0), 0);
  }

  std::unique_ptr<vm::Machine> machine_ = vm_machine();
  std::vector<std::shared_ptr<vm::Program>> programs_;
  std::shared_ptr<maps::Map> map_ = make();

 private:
  static std::unique_ptr<vm::Machine> vm_machine() { return make_machine(4); }
};

INSTANTIATE_TEST_SUITE_P(Engines, ValueFields, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

constexpr const char* kLock = "r1 = r6\nr1 += 8\ncall 93\n";
constexpr const char* kUnlock = "r1 = r6\nr1 += 8\ncall 94\n";

std::string text(std::initializer_list<std::string> parts) {
  std::string all;
  for (const auto& part : parts) all += part;
  return all;
}

TEST_P(ValueFields, CpusCountUnderALock) {
  constexpr unsigned kRuns = 2000;
  programs_.push_back(
      make_program(*machine_,
                   text({kFind, kLock, "r1 = *(u64 *)(r6 + 0)\nr1 += 1\n*(u64 *)(r6 + 0) = r1\n", kUnlock,
                         "r0 = 0\nexit"}),
                   "raw", {map_}));
  const auto count = [&](unsigned cpu) {
    vm::Runner runner(machine_->cpu(cpu), *programs_.back(), options());
    for (unsigned n = 0; n < kRuns; ++n) ASSERT_FALSE(runner.run(std::span<std::byte>()).faulted);
  };
  {
    std::jthread other([&] { count(1); });
    count(0);
  }
  EXPECT_EQ(number(), 2 * kRuns);
}

TEST_P(ValueFields, UserSpaceReadsUnderTheLock) {
  // Two words that are always the same under the lock.
  programs_.push_back(make_program(
      *machine_,
      text({kFind, kLock, "r1 = *(u64 *)(r6 + 0)\nr1 += 1\n*(u64 *)(r6 + 0) = r1\n*(u32 *)(r6 + 12) = w1\n",
            kUnlock, "r0 = 0\nexit"}),
      "raw", {map_}));
  std::jthread other([&](const std::stop_token& stop) {
    vm::Runner runner(machine_->cpu(1), *programs_.back(), options());
    while (!stop.stop_requested()) runner.run(std::span<std::byte>());
  });
  for (unsigned n = 0; n < 1000; ++n) {
    const uint32_t key = 1;
    std::array<uint32_t, kValueSize / 4> value{};
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    ASSERT_EQ(map_->read(&key, value.data(), BPF_F_LOCK), 0);
    ASSERT_EQ(value[0], value[3]);
  }
}

TEST_P(ValueFields, LocksAgainstTheRulesAreFaults) {
  if (!checked()) return;
  expect_lock_fault(text({kLock, kLock, kUnlock, "exit"}),
                    "bpf_spin_lock is called by a program that holds a lock");
  expect_lock_fault(text({kUnlock, "exit"}), "bpf_spin_unlock of a lock that the program does not hold");
  expect_lock_fault(text({kLock, "r0 = 0\nexit"}), "without giving back the lock it took here");
  expect_lock_fault(
      text({kLock, "*(u32 *)(r10 - 4) = 1\nr1 = map_by_fd(0)\nr2 = r10\nr2 += -4\ncall 3\nexit"}),
      "calls a helper while it holds a lock");
  EXPECT_TRUE(run(text({kLock, "r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit"})).faulted);
  EXPECT_EQ(fault().kind, vm::FaultKind::kMemory) << "the first fault counts";
  EXPECT_EQ(result(text({kLock, kUnlock, "r0 = 5\nexit"})), 5) << "and the lock is free";
  EXPECT_TRUE(run("r1 = r6\nr1 += 12\ncall 93\nr0 = 0\nexit").faulted) << "no lock there";
  EXPECT_EQ(fault().kind, vm::FaultKind::kBadCall);
}

TEST_P(ValueFields, ATailCallWithALockIsAFault) {
  if (!checked()) return;
  const auto programs = make_map(*machine_, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
  programs_.push_back(make_program(*machine_, text({kFind, kLock, R"(
      r1 = r7
      r2 = map_by_fd(1)
      r3 = 0
      call 12
      r0 = 0
      exit)"}),
                                   "raw", {map_, programs}));
  programs_.push_back(make_program(*machine_, "r0 = 1\nexit"));
  programs->set_object(0, programs_.back());
  EXPECT_TRUE(vm::run_raw(machine_->cpu(0), *programs_[0], {}, options()).faulted);
  EXPECT_EQ(fault().kind, vm::FaultKind::kLock);
  EXPECT_NE(vm::describe(fault()).find("tail call"), std::string::npos) << vm::describe(fault());
}

TEST_P(ValueFields, CheckedProgramsDoNotTouchFields) {
  if (!checked()) return;
  for (const char* access : {"r0 = *(u32 *)(r6 + 8)", "*(u32 *)(r6 + 8) = 0", "r0 = *(u64 *)(r6 + 8)",
                             "r0 = *(u8 *)(r6 + 31)", "*(u64 *)(r6 + 16) = 1", "*(u64 *)(r6 + 32) = 1",
                             "r0 = *(u32 *)(r6 + 32)", "r1 = 1\nlock *(u64 *)(r6 + 32) += r1"}) {
    // Before and after an access beside the field, whose region the engines remember.
    EXPECT_TRUE(run(std::string(access) + "\nr0 = 0\nexit").faulted) << access;
    EXPECT_EQ(fault().kind, vm::FaultKind::kMemory) << access;
    EXPECT_TRUE(
        run("*(u64 *)(r6 + 0) = 1\nr0 = *(u64 *)(r6 + 0)\n" + std::string(access) + "\nr0 = 0\nexit").faulted)
        << access;
  }
  EXPECT_EQ(result("*(u32 *)(r6 + 12) = 3\nr0 = *(u32 *)(r6 + 12)\nexit"), 3);
  EXPECT_EQ(result("r0 = *(u64 *)(r6 + 32)\nexit"), 0) << "a pointer is read as a whole";
  EXPECT_EQ(result("r1 = 4\n*(u64 *)(r6 + 40) = r1\nr0 = *(u64 *)(r6 + 40)\nexit"), 4);
}

TEST_P(ValueFields, PointersAreExchanged) {
  const char* exchange = "r1 = r6\nr1 += 32\nr2 = 77\ncall 194\nexit";
  EXPECT_EQ(result(exchange), 0);
  EXPECT_EQ(result(exchange), 77);
  EXPECT_EQ(result("r0 = *(u64 *)(r6 + 32)\nexit"), 77);
  write(1);
  EXPECT_EQ(result("r0 = *(u64 *)(r6 + 32)\nexit"), 0) << "an update forgets them";
  if (checked()) {
    EXPECT_TRUE(run("r1 = r6\nr1 += 40\nr2 = 77\ncall 194\nexit").faulted) << "an untrusted one";
  }
}

TEST_P(ValueFields, PointersGoWithTheirElement) {
  map_ = make(BPF_MAP_TYPE_HASH);
  const char* exchange = "r1 = r6\nr1 += 32\nr2 = 77\ncall 194\nexit";
  write(1);
  EXPECT_EQ(result(exchange), 0);
  write(1);
  EXPECT_EQ(result(exchange), 0) << "replaced";
  // Deleted and put in again so often that memory is used again.
  for (unsigned n = 0; n < 400; ++n) {
    const uint32_t key = 1;
    {
      const maps::EpochDomain::TaskGuard guard(machine_->epochs());
      ASSERT_EQ(map_->erase(&key), 0);
    }
    write(1);
    ASSERT_EQ(result(exchange), 0) << n;
  }
}

// The callback adds 1 to the number, and what it is given more.
std::string timer_program(const std::string& body, const std::string& callback = "") {
  return body + R"(
  r0 = 0
  exit
callback:
  r1 = *(u64 *)(r3 + 0)
  r1 += 1
  *(u64 *)(r3 + 0) = r1
)" + callback +
         R"(
  r0 = 0
  exit)";
}
constexpr const char* kInit = "r1 = r6\nr1 += 16\nr2 = map_by_fd(0)\nr3 = 1\ncall 169\n";
constexpr const char* kSetCallback = "r1 = r6\nr1 += 16\nr2 = code_addr(callback)\ncall 170\n";
std::string start(uint64_t nanoseconds, unsigned flags = 0) {
  return "r1 = r6\nr1 += 16\nr2 = " + std::to_string(nanoseconds) + "\nr3 = " + std::to_string(flags) +
         "\ncall 171\n";
}
constexpr const char* kCancel = "r1 = r6\nr1 += 16\ncall 172\n";

TEST_P(ValueFields, ATimerIsSetUpOnce) {
  EXPECT_EQ(result("r1 = r6\nr1 += 16\nr2 = map_by_fd(0)\nr3 = 2\ncall 169\nexit"), -EINVAL)
      << "no such clock";
  EXPECT_EQ(result("r1 = r6\nr1 += 16\nr2 = map_by_fd(0)\nr3 = 16\ncall 169\nexit"), -EINVAL);
  EXPECT_EQ(result(text({start(5), "exit"})), -EINVAL) << "not set up";
  EXPECT_EQ(result(text({kCancel, "exit"})), -EINVAL);
  EXPECT_EQ(result(text({kInit, "exit"})), 0);
  EXPECT_EQ(result(text({kInit, "exit"})), -EBUSY);
  EXPECT_EQ(result(text({start(5), "exit"})), -EINVAL) << "no callback";
  EXPECT_EQ(result(text({kCancel, "exit"})), 0) << "not started";
  EXPECT_EQ(result(text({start(5, 4), "exit"})), -EINVAL) << "an unknown flag";
  write(1);
  EXPECT_EQ(result(text({kInit, "exit"})), 0) << "an update frees the timer";
}

TEST_P(ValueFields, TimersNeedAUser) {
  map_->set_used_by_user(false);
  EXPECT_EQ(result(text({kInit, "exit"})), -EPERM);
  map_->set_used_by_user(true);
  EXPECT_EQ(result(text({kInit, "exit"})), 0);
  map_->set_used_by_user(false);
  EXPECT_EQ(result(text({kCancel, "exit"})), -EINVAL) << "gone with the user";
}

TEST_P(ValueFields, TimersFireInOrderOfExpiry) {
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(5'000'000)})), 2), 0);
  EXPECT_EQ(number(), 0U);
  EXPECT_EQ(machine_->timers().advance(4'000'000), 0U);
  EXPECT_EQ(number(), 0U) << "not yet";
  EXPECT_EQ(machine_->timers().advance(1'000'000), 1U);
  EXPECT_EQ(number(), 1U);
  EXPECT_EQ(machine_->timers().advance(100'000'000), 0U) << "once";
}

TEST_P(ValueFields, TimersFireBeforeTheNextRunOnTheirCpu) {
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(5'000)})), 2), 0);
  machine_->clock().advance(10'000);
  EXPECT_EQ(result("r0 = *(u64 *)(r6 + 0)\nexit", 1), 0) << "another CPU's";
  EXPECT_EQ(result("r0 = *(u64 *)(r6 + 0)\nexit", 2), 1);
  EXPECT_EQ(result("r0 = *(u64 *)(r6 + 0)\nexit", 2), 1);
}

TEST_P(ValueFields, ACallbackStartsItsTimerAgain) {
  const std::string again = "r1 = r3\nr1 += 16\nr2 = 1000000\nr3 = 0\ncall 171\n";
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(1'000'000)}), again)), 0);
  EXPECT_EQ(machine_->timers().advance(10'500'000), 10U) << "every millisecond and a bit";
  EXPECT_EQ(number(), 10U);
  // Without delay it does not keep others from going on.
  const std::string at_once = "r1 = r3\nr1 += 16\nr2 = 0\nr3 = 1\ncall 171\n";
  write(1);
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(0)}), at_once)), 0);
  EXPECT_LE(machine_->timers().advance(100'000), 101U) << "a run takes a microsecond";
  EXPECT_GE(number(), 50U);
}

TEST_P(ValueFields, ACallbackDoesNotCancelItself) {
  const std::string cancel = "r6 = r3\nr1 = r3\nr1 += 16\ncall 172\n*(u64 *)(r6 + 0) = r0\n";
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(1000)}), cancel)), 0);
  EXPECT_EQ(machine_->timers().advance(100'000), 1U);
  EXPECT_EQ(static_cast<int64_t>(number()), -EDEADLK);
}

TEST_P(ValueFields, CancelledTimersDoNotFire) {
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(1'000'000)}))), 0);
  EXPECT_EQ(result(text({kCancel, "exit"})), 1);
  EXPECT_EQ(result(text({start(5), "exit"})), -EINVAL) << "it has no callback any more";
  EXPECT_EQ(machine_->timers().advance(100'000'000), 0U);
}

TEST_P(ValueFields, TimersGoWithTheirElement) {
  map_ = make(BPF_MAP_TYPE_HASH);
  const auto started = timer_program(text({kInit, kSetCallback, start(1'000'000)}));
  const uint32_t key = 1;
  write(key);
  EXPECT_EQ(result(started), 0);
  write(key);
  EXPECT_EQ(machine_->timers().advance(10'000'000), 0U) << "replaced";
  EXPECT_EQ(result(started), 0);
  {
    const maps::EpochDomain::TaskGuard guard(machine_->epochs());
    EXPECT_EQ(map_->erase(&key), 0);
  }
  EXPECT_EQ(machine_->timers().advance(10'000'000), 0U) << "deleted";
  write(key);
  EXPECT_EQ(result(started), 0);
  EXPECT_EQ(map_->clear(), 0);
  EXPECT_EQ(machine_->timers().advance(10'000'000), 0U) << "emptied";
  write(key);
  EXPECT_EQ(result(started), 0);
  EXPECT_EQ(machine_->timers().advance(10'000'000), 1U);
  EXPECT_EQ(number(), 1U);
  EXPECT_EQ(result(started), -0) << "set up, so that only the start counts";
  map_->set_used_by_user(false);
  EXPECT_EQ(machine_->timers().advance(10'000'000), 0U) << "no user";
}

TEST_P(ValueFields, ACallbackGetsItsKey) {
  map_ = make(BPF_MAP_TYPE_HASH);
  write(1);
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(1000)}),
                                 "r1 = *(u32 *)(r2 + 0)\nr1 += 100\n*(u64 *)(r3 + 0) = r1\n")),
            0);
  EXPECT_EQ(machine_->timers().advance(10'000), 1U);
  EXPECT_EQ(number(), 101U);
}

TEST_P(ValueFields, FaultsOfCallbacksAreReported) {
  // A machine's timers run in its own mode, which is checked.
  std::vector<std::string> faults;
  machine_->set_timer_fault_sink([&](unsigned cpu, const vm::Fault& fault) {
    faults.push_back(std::to_string(cpu) + " " + vm::describe(fault));
  });
  EXPECT_EQ(result(timer_program(text({kInit, kSetCallback, start(1000)}), "r1 = *(u64 *)(r3 + 16)\n"), 3),
            0);
  EXPECT_EQ(machine_->timers().advance(10'000), 1U);
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_EQ(faults[0].substr(0, 14), "3 memory fault") << faults[0];
}

TEST_P(ValueFields, CpusStartAndCancelAtOnce) {
  programs_.push_back(make_program(
      *machine_, kFind + timer_program(text({kInit, kSetCallback, start(1'000), kCancel, start(1'000)})),
      "raw", {map_}));
  const auto churn = [&](unsigned cpu) {
    vm::Runner runner(machine_->cpu(cpu), *programs_.back(), options());
    for (unsigned n = 0; n < 1000; ++n) ASSERT_FALSE(runner.run(std::span<std::byte>()).faulted);
  };
  {
    std::jthread other([&] { churn(1); });
    std::jthread user([&] {
      for (unsigned n = 0; n < 200; ++n) write(1);
    });
    churn(0);
  }
  map_->set_used_by_user(false);
  EXPECT_EQ(machine_->timers().advance(1'000'000), 0U);
}

}  // namespace
}  // namespace skep::test
