#include <atomic>
#include <cerrno>
#include <latch>
#include <thread>

#include "bpf_fixture.hpp"
#include "vm/program_type.hpp"

namespace skep::test {
namespace {

class Threads : public testing::Test {
 protected:
  long call(int command, bpf_attr& attributes) { return bpf_->call(command, &attributes, sizeof attributes); }
  Fd create_map(uint32_t type, uint32_t value_size, uint32_t entries) {
    bpf_attr attributes{};
    attributes.map_type = type;
    attributes.key_size = 4;
    attributes.value_size = value_size;
    attributes.max_entries = entries;
    return Fd(call(BPF_MAP_CREATE, attributes));
  }
  Fd load(std::span<const bpf_insn> code) {
    bpf_attr attributes{};
    attributes.prog_type = vm::kProgTypeRaw;
    attributes.insns = pointer(code.data());
    attributes.insn_cnt = static_cast<uint32_t>(code.size());
    attributes.license = pointer("GPL");
    return Fd(call(BPF_PROG_LOAD, attributes));
  }
  long run_on(const Fd& program, uint32_t cpu, uint32_t times) {
    bpf_attr attributes{};
    attributes.test.prog_fd = program.field();
    attributes.test.flags = BPF_F_TEST_RUN_ON_CPU;
    attributes.test.cpu = cpu;
    attributes.test.repeat = times;
    return call(BPF_PROG_TEST_RUN, attributes);
  }
  const std::unique_ptr<vm::Machine> machine_ = make_machine(4);
  const std::unique_ptr<Bpf> bpf_ = machine_bpf(*machine_);
};

// Two programs that each wait for the other, each on its own CPU: they only end if they run at once.
TEST_F(Threads, CpusRunAtTheSameTime) {
  const Fd map = create_map(BPF_MAP_TYPE_ARRAY, 8, 1);
  // *value += 1; do r2 = 0, r2 = fetch_add(value, r2) while (r2 < 2); r0 = 0
  const std::vector<bpf_insn> code{insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_VALUE, 0, map.get()),
                                   insn(0, 0, 0, 0, 0),
                                   mov(2, 1),
                                   insn(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, 0, BPF_ADD),
                                   mov(2, 0),
                                   insn(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, 0, BPF_ADD | BPF_FETCH),
                                   insn(BPF_JMP | BPF_JLT | BPF_K, 2, 0, -3, 2),
                                   mov(0, 0),
                                   exit_insn()};
  const Fd program = load(code);
  ASSERT_GE(program.get(), 0);
  long other = -1;
  std::thread second([&] { other = run_on(program, 1, 1); });
  EXPECT_EQ(run_on(program, 0, 1), 0);
  second.join();
  EXPECT_EQ(other, 0);
}

TEST_F(Threads, OneCpuRunsOneProgramAtATime) {
  const Fd map = create_map(BPF_MAP_TYPE_ARRAY, 8, 1);
  // *value += 1, not atomically: nothing is lost on one CPU.
  const std::vector<bpf_insn> code{insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_VALUE, 0, map.get()),
                                   insn(0, 0, 0, 0, 0),
                                   insn(BPF_LDX | BPF_MEM | BPF_DW, 2, 1, 0, 0),
                                   insn(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, 1),
                                   insn(BPF_STX | BPF_MEM | BPF_DW, 1, 2, 0, 0),
                                   mov(0, 0),
                                   exit_insn()};
  const Fd program = load(code);
  constexpr unsigned kThreads = 3;
  std::latch start(kThreads);
  std::vector<std::thread> threads;
  std::atomic<long> failures{0};
  for (unsigned i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      start.arrive_and_wait();
      for (int n = 0; n < 200; ++n)
        if (run_on(program, 2, 5) != 0) ++failures;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  const uint32_t key = 0;
  uint64_t value = 0;
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  attributes.key = pointer(&key);
  attributes.value = pointer(&value);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_ELEM, attributes), 0);
  EXPECT_EQ(value, 3000U);
}

// Objects made, used, looked for and dropped by all at once.
TEST_F(Threads, ObjectsComeAndGo) {
  constexpr unsigned kThreads = 4;
  std::latch start(kThreads);
  std::vector<std::thread> threads;
  std::atomic<long> failures{0};
  for (unsigned i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      for (uint32_t n = 0; n < 100; ++n) {
        const Fd map = create_map(BPF_MAP_TYPE_HASH, 4, 8);
        const uint32_t key = i;
        bpf_attr element{};
        element.map_fd = map.field();
        element.key = pointer(&key);
        element.value = pointer(&n);
        if (map.get() < 0 || call(BPF_MAP_UPDATE_ELEM, element) != 0) ++failures;
        bpf_attr next{};
        if (n % 8 == 0 && call(BPF_MAP_GET_NEXT_ID, next) != 0) ++failures;
        uint32_t value = 0;
        element.value = pointer(&value);
        if (call(BPF_MAP_LOOKUP_ELEM, element) != 0 || value != n) ++failures;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST_F(Threads, TailCallTargetsAreReplacedUnderTheCaller) {
  const Fd array = create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 1);
  const std::vector<bpf_insn> code{insn(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, array.get()),
                                   insn(0, 0, 0, 0, 0),
                                   mov(3, 0),
                                   call_helper(BPF_FUNC_tail_call),
                                   mov(0, 7),
                                   exit_insn()};
  const Fd caller = load(code);
  ASSERT_GE(caller.get(), 0);
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    while (!stop) {
      const Fd target = load(return_value(7));
      const uint32_t key = 0;
      const uint32_t descriptor = target.field();
      bpf_attr attributes{};
      attributes.map_fd = array.field();
      attributes.key = pointer(&key);
      attributes.value = pointer(&descriptor);
      EXPECT_EQ(call(BPF_MAP_UPDATE_ELEM, attributes), 0);
    }
  });
  for (int n = 0; n < 500; ++n) {
    bpf_attr attributes{};
    attributes.test.prog_fd = caller.field();
    attributes.test.flags = BPF_F_TEST_RUN_ON_CPU;
    attributes.test.cpu = 3;
    attributes.test.repeat = 20;
    EXPECT_EQ(call(BPF_PROG_TEST_RUN, attributes), 0);
    EXPECT_EQ(attributes.test.retval, 7U);
  }
  stop = true;
  changer.join();
}

}  // namespace
}  // namespace skep::test
