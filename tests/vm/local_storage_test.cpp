#include "maps/local_storage.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "helpers/helpers.hpp"
#include "jit/jit.hpp"
#include "vm/interpreter.hpp"
#include "vm/packet.hpp"
#include "vm_fixture.hpp"

// Local storage in programs: both engines, both modes.
namespace skep::test {
namespace {

constexpr const char* kCount = R"(
  if r0 != 0 goto found
  r0 = -1
  exit
found:
  r1 = *(u64 *)(r0 + 0)
  r1 += 1
  *(u64 *)(r0 + 0) = r1
  r0 = r1
  exit)";

const std::string kCountInTask = std::string(R"(
  call 158
  r2 = r0
  r1 = map_by_fd(0)
  r3 = 0
  r4 = 1
  call 156)") + kCount;

const std::string kCountInSocket = std::string(R"(
  r2 = *(u64 *)(r1 + 168)
  r1 = map_by_fd(0)
  r3 = 0
  r4 = 1
  call 107)") + kCount;

class LocalStorage : public testing::TestWithParam<Execution> {
 protected:
  std::shared_ptr<maps::Map> make(uint32_t type, vm::Machine& machine) {
    maps::MapSpec spec;
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = 8;
    spec.flags = BPF_F_NO_PREALLOC;
    spec.typed = true;
    auto map = maps::create_map(spec, machine.map_environment());
    EXPECT_TRUE(map.has_value());
    return *map;
  }
  vm::RunOptions options() const { return {GetParam().engine, GetParam().mode, 100'000'000}; }
  bool checked() const { return GetParam().mode == vm::Mode::kChecked; }
  const vm::Fault& fault(unsigned cpu = 0) { return machine_->cpu(cpu).fault(); }

  vm::RunResult run(std::string_view text, std::vector<std::shared_ptr<maps::Map>> maps, unsigned cpu = 0) {
    programs_.push_back(make_program(*machine_, text, "raw", std::move(maps)));
    if (!programs_.back()) return {};
    return vm::run_raw(machine_->cpu(cpu), *programs_.back(), {}, options());
  }
  // On a packet, so many times.
  vm::RunResult run_on_packet(std::string_view text, std::vector<std::shared_ptr<maps::Map>> maps,
                              unsigned times = 1) {
    programs_.push_back(make_program(*machine_, text, "sched_cls", std::move(maps)));
    if (!programs_.back()) return {};
    const std::array<std::byte, 64> bytes{};
    vm::Cpu& cpu = machine_->cpu(0);
    auto packet = vm::PacketContext::create(cpu, programs_.back()->type(), {.data = bytes});
    EXPECT_TRUE(packet.has_value());
    vm::RunResult result;
    for (unsigned n = 0; n < times; ++n) result = vm::run_packet(cpu, *programs_.back(), *packet, options());
    return result;
  }
  void expect_fault(const vm::RunResult& result, vm::FaultKind kind, const char* helper = nullptr,
                    unsigned argument = 0) {
    ASSERT_TRUE(result.faulted);
    EXPECT_EQ(fault().kind, kind) << vm::describe(fault());
    EXPECT_STREQ(fault().helper, helper);
    EXPECT_EQ(fault().argument, argument);
  }
  static std::optional<uint64_t> of_task(maps::Map& map, vm::Machine& machine) {
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
    const maps::EpochDomain::TaskGuard guard(machine.epochs());
    uint64_t value = 0;
    const int result = map.read(&pidfd, &value, 0);
    close(pidfd);
    return result == 0 ? std::optional(value) : std::nullopt;
  }

  std::unique_ptr<vm::Machine> machine_ = make_machine(2);
  std::vector<std::shared_ptr<vm::Program>> programs_;
};

TEST_P(LocalStorage, OfTheCurrentTask) {
  const auto map = make(BPF_MAP_TYPE_TASK_STORAGE, *machine_);
  for (uint64_t n = 1; n < 5; ++n) EXPECT_EQ(run(kCountInTask, {map}, n % 2).r0, n);
  EXPECT_EQ(of_task(*map, *machine_), 4U);
  EXPECT_EQ(run("call 158\nr2 = r0\nr1 = map_by_fd(0)\ncall 157\nexit", {map}).r0, 0U);
  EXPECT_EQ(of_task(*map, *machine_), std::nullopt);
}

// A fixed task is the process, whatever thread drives the CPU.
TEST_P(LocalStorage, AFixedTaskIsOneForAllThreads) {
  const auto map = make(BPF_MAP_TYPE_TASK_STORAGE, *machine_);
  EXPECT_EQ(run(kCountInTask, {map}).r0, 1U);
  std::thread([&] { EXPECT_EQ(run(kCountInTask, {map}).r0, 2U); }).join();
}

TEST_P(LocalStorage, OtherwiseEachThreadIsATask) {
  auto made =
      vm::Machine::create({.cpus = 2}, helpers::builtin_helpers(), vm::make_interpreter(), jit::make_jit());
  ASSERT_TRUE(made);
  vm::Machine& machine = **made;
  const auto map = make(BPF_MAP_TYPE_TASK_STORAGE, machine);
  const auto program = make_program(machine, kCountInTask, "raw", {map});
  const auto count = [&] { return vm::run_raw(machine.cpu(0), *program, {}, options()).r0; };
  EXPECT_EQ(count(), 1U);
  std::thread([&] { EXPECT_EQ(count(), 1U); }).join();
  EXPECT_EQ(count(), 2U);
  EXPECT_EQ(of_task(*map, machine), 2U);
  EXPECT_EQ(static_cast<maps::LocalStorageMap&>(*map).size(), 2U);
  machine.host_objects().refresh();
  EXPECT_EQ(static_cast<maps::LocalStorageMap&>(*map).size(), 1U) << "the other thread has ended";
}

TEST_P(LocalStorage, OfThePacketsSocket) {
  const auto map = make(BPF_MAP_TYPE_SK_STORAGE, *machine_);
  EXPECT_EQ(run_on_packet(kCountInSocket, {map}, 3).r0, 3U);
  EXPECT_EQ(static_cast<maps::LocalStorageMap&>(*map).size(), 0U) << "it goes with the packet";
  EXPECT_EQ(run_on_packet(kCountInSocket, {map}).r0, 1U);
}

TEST_P(LocalStorage, AnElementStaysUntilTheRunEnds) {
  const auto map = make(BPF_MAP_TYPE_TASK_STORAGE, *machine_);
  const std::string text = R"(
    call 158
    r6 = r0
    r2 = r6
    r1 = map_by_fd(0)
    r3 = 0
    r4 = 1
    call 156
    if r0 == 0 goto out
    r7 = r0
    *(u64 *)(r7 + 0) = 5
    r1 = map_by_fd(0)
    r2 = r6
    call 157
    if r0 != 0 goto out
    r1 = map_by_fd(0)
    r2 = r6
    r3 = 0
    r4 = 1
    call 156
    if r0 == 0 goto out
    *(u64 *)(r0 + 0) = 7
    r0 = *(u64 *)(r7 + 0)
  out:
    exit)";
  EXPECT_EQ(run(text, {map}).r0, 5U);
  EXPECT_EQ(of_task(*map, *machine_), 7U);
}

TEST_P(LocalStorage, BadArgumentsAreFaultsThatNameThem) {
  if (!checked()) return;
  const auto map = make(BPF_MAP_TYPE_TASK_STORAGE, *machine_);
  const auto task = [&](const char* second, const char* third = "r3 = 0") {
    return run(
        std::string("call 158\n") + second + "\nr1 = map_by_fd(0)\n" + third + "\nr4 = 1\ncall 156\nexit",
        {map});
  };
  EXPECT_FALSE(task("r2 = r0").faulted);
  expect_fault(task("r2 = r10"), vm::FaultKind::kBadCall, "task_storage_get", 2);
  expect_fault(task("r2 = r0\nr2 += 8"), vm::FaultKind::kBadCall, "task_storage_get", 2);
  expect_fault(task("r2 = 1"), vm::FaultKind::kBadCall, "task_storage_get", 2);
  expect_fault(task("r2 = r0", "r3 = 16"), vm::FaultKind::kMemory, "task_storage_get", 3);
  expect_fault(task("r2 = r0", "r3 = r10\nr3 += -4"), vm::FaultKind::kMemory, "task_storage_get", 3);
  EXPECT_EQ(fault().size, 8U);
  expect_fault(run("call 158\nr2 = r0\nr1 = r10\ncall 157\nexit", {map}), vm::FaultKind::kBadCall,
               "task_storage_delete", 1);
  EXPECT_NE(vm::describe(fault()).find("(argument 1 of helper bpf_task_storage_delete)"), std::string::npos)
      << vm::describe(fault());
}

TEST_P(LocalStorage, ATaskLeadsNowhere) {
  if (!checked()) return;
  expect_fault(run("call 158\nr0 = *(u64 *)(r0 + 0)\nexit", {}), vm::FaultKind::kMemory);
  expect_fault(run("call 158\n*(u64 *)(r0 + 0) = 1\nr0 = 0\nexit", {}), vm::FaultKind::kMemory);
  expect_fault(run("call 35\nr0 = *(u8 *)(r0 + 0)\nexit", {}), vm::FaultKind::kMemory);
}

TEST_P(LocalStorage, ASocketIsReadFieldByField) {
  if (!checked()) return;
  const auto access = [&](const char* what) {
    return run_on_packet(std::string("r2 = *(u64 *)(r1 + 168)\nr0 = 0\n") + what + "\nexit", {});
  };
  EXPECT_EQ(access("r0 = *(u32 *)(r2 + 72)").r0, 7U) << "state: TCP_CLOSE";
  EXPECT_EQ(access("r0 = *(u8 *)(r2 + 72)").r0, 7U);
  EXPECT_FALSE(access("r0 = *(u16 *)(r2 + 48)").faulted);
  EXPECT_FALSE(access("r0 = *(u32 *)(r2 + 48)").faulted);
  expect_fault(access("r0 = *(u16 *)(r2 + 50)"), vm::FaultKind::kMemory);
  expect_fault(access("r0 = *(u64 *)(r2 + 24)"), vm::FaultKind::kMemory);
  expect_fault(access("r0 = *(u16 *)(r2 + 16)"), vm::FaultKind::kMemory);
  expect_fault(access("r0 = *(u32 *)(r2 + 80)"), vm::FaultKind::kMemory);
  expect_fault(access("r0 = *(u32 *)(r2 - 4)"), vm::FaultKind::kMemory);
  expect_fault(access("*(u32 *)(r2 + 16) = 1"), vm::FaultKind::kMemory);
  expect_fault(access("*(u64 *)(r1 + 168) = 0"), vm::FaultKind::kMemory);
  expect_fault(access("r0 = *(u32 *)(r1 + 168)"), vm::FaultKind::kMemory);
  // What was read once is no leave for more.
  expect_fault(access("r0 = *(u32 *)(r2 + 72)\nr0 = *(u32 *)(r2 + 52)\n*(u32 *)(r2 + 52) = r0"),
               vm::FaultKind::kMemory);
}

TEST_P(LocalStorage, BadSockets) {
  if (!checked()) return;
  const auto map = make(BPF_MAP_TYPE_SK_STORAGE, *machine_);
  const auto socket = [&](const char* second) {
    return run_on_packet(std::string("r2 = *(u64 *)(r1 + 168)\nr6 = r1\nr1 = map_by_fd(0)\n") + second +
                             "\nr3 = 0\nr4 = 1\ncall 107\nexit",
                         {map});
  };
  EXPECT_FALSE(socket("").faulted);
  expect_fault(socket("r2 = 0"), vm::FaultKind::kBadCall, "sk_storage_get", 2);
  expect_fault(socket("r2 += 4"), vm::FaultKind::kBadCall, "sk_storage_get", 2);
  expect_fault(socket("r2 = r6"), vm::FaultKind::kBadCall, "sk_storage_get", 2);
  expect_fault(run_on_packet("r1 = r10\ncall 95\nexit", {}), vm::FaultKind::kBadCall, "sk_fullsock", 1);
}

// What the load does not see: the map goes through the stack.
TEST_P(LocalStorage, MapsOfOtherTypesFindNothing) {
  if (!checked()) return;
  const auto sockets = make(BPF_MAP_TYPE_SK_STORAGE, *machine_);
  const auto hash = make_map(*machine_, BPF_MAP_TYPE_HASH, 4, 8, 4);
  for (const auto& other : {sockets, hash}) {
    const char* get = R"(
      r1 = map_by_fd(0)
      *(u64 *)(r10 - 8) = r1
      call 158
      r2 = r0
      r1 = *(u64 *)(r10 - 8)
      r3 = 0
      r4 = 1
      call 156
      exit)";
    EXPECT_EQ(run(get, {other}).r0, 0U);
    const char* remove =
        "r1 = map_by_fd(0)\n*(u64 *)(r10 - 8) = r1\ncall 158\nr2 = r0\nr1 = *(u64 *)(r10 - 8)\ncall "
        "157\nexit";
    EXPECT_EQ(static_cast<int64_t>(run(remove, {other}).r0), -EINVAL);
  }
  // And helpers by key that are given local storage.
  const auto tasks = make(BPF_MAP_TYPE_TASK_STORAGE, *machine_);
  const auto by_key = [&](const char* helper) {
    return run(std::string(R"(
      r1 = map_by_fd(0)
      *(u64 *)(r10 - 8) = r1
      *(u64 *)(r10 - 16) = 1
      r1 = *(u64 *)(r10 - 8)
      r2 = r10
      r2 += -16
      r3 = r10
      r3 += -16
      r4 = 0
      )") + helper +
                   "\nexit",
               {tasks});
  };
  EXPECT_EQ(by_key("call 1").r0, 0U);
  EXPECT_EQ(static_cast<int64_t>(by_key("call 2").r0), -524);
  EXPECT_EQ(static_cast<int64_t>(by_key("call 3").r0), -524);
}

TEST_P(LocalStorage, ProgramsWithoutPacketsHaveNoSockets) {
  const auto refused = try_program(*machine_, assemble("r0 = 0\ncall 107\nexit"), "xdp");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("program of this type cannot use helper bpf_sk_storage_get#107"),
            std::string::npos)
      << refused.error().message;
}

TEST_P(LocalStorage, HelpersThatSkepDoesNotHaveAreNamed) {
  for (const auto& [number, name] :
       {std::pair{"145", "inode_storage_get"}, {"146", "inode_storage_delete"}}) {
    const auto refused =
        try_program(*machine_, assemble(std::string("r0 = 0\ncall ") + number + "\nexit"), "sched_cls");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EINVAL);
    EXPECT_NE(refused.error().message.find(std::string("program of this type cannot use helper bpf_") + name +
                                           "#" + number),
              std::string::npos)
        << refused.error().message;
  }
}

TEST_P(LocalStorage, SocketsHaveCookies) {
  const uint64_t first = run_on_packet("call 46\nexit", {}, 3).r0;
  EXPECT_NE(first, 0U);
  EXPECT_NE(run_on_packet("call 46\nexit", {}).r0, first);
}

INSTANTIATE_TEST_SUITE_P(Each, LocalStorage, testing::ValuesIn(all_executions()),
                         [](const auto& info) { return name_of(info.param); });

// Two CPUs count in one task's element while user space replaces and deletes it.
TEST(LocalStorageThreads, ProgramsAndUserSpaceShareAnElement) {
  const auto machine = make_machine(2);
  maps::MapSpec spec;
  spec.type = BPF_MAP_TYPE_TASK_STORAGE;
  spec.key_size = 4;
  spec.value_size = 8;
  spec.flags = BPF_F_NO_PREALLOC;
  spec.typed = true;
  const auto map = *maps::create_map(spec, machine->map_environment());
  const auto program = make_program(*machine, kCountInTask, "raw", {map});
  std::vector<std::thread> threads;
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    threads.emplace_back([&, cpu] {
      vm::Runner runner(machine->cpu(cpu), *program, {vm::EngineKind::kInterpreter, vm::Mode::kChecked});
      for (int n = 0; n < 3000; ++n) {
        const vm::RunResult result = runner.run(std::span<std::byte>());
        ASSERT_FALSE(result.faulted) << vm::describe(machine->cpu(cpu).fault());
        ASSERT_NE(result.r0, ~uint64_t{0}) << "deleted before it could be found: another is made";
      }
    });
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  for (int n = 0; n < 300; ++n) {
    const maps::EpochDomain::TaskGuard guard(machine->epochs());
    uint64_t value = 0;
    EXPECT_EQ(map->write(&pidfd, &value, BPF_ANY), 0);
    map->read(&pidfd, &value, 0);
    map->erase(&pidfd);
  }
  close(pidfd);
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(static_cast<maps::LocalStorageMap&>(*map).size(), 1U);
}

}  // namespace
}  // namespace skep::test
