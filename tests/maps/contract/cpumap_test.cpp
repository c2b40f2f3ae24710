#include <cerrno>

#include "redirect_programs.hpp"

namespace skep::test {
namespace {

constexpr uint32_t kType = BPF_MAP_TYPE_CPUMAP;

class CpuMapContract : public RedirectMapContract {
 protected:
  CpuMapContract() : RedirectMapContract(kType) {}
};
SKEP_CONTRACT(CpuMapContract);

TEST_P(CpuMapContract, Attributes) {
  EXPECT_EQ(create(4, 4, 1), 0);
  EXPECT_EQ(create(4, 8, 1), 0);
  EXPECT_EQ(create(4, 8, 64), 0) << "more than there are CPUs";
  EXPECT_EQ(create(4, 8, 0), -EINVAL);
  EXPECT_EQ(create(8, 8, 1), -EINVAL);
  EXPECT_EQ(create(4, 5, 1), -EINVAL);
  EXPECT_EQ(create(4, 12, 1), -EINVAL);
  EXPECT_EQ(create(4, 4, 1 << 20), -E2BIG) << "more than there may ever be";
  EXPECT_EQ(create(4, 5, 1 << 20), -EINVAL);
  EXPECT_EQ(create(4, 4, 1, BPF_F_NUMA_NODE), 0);
  for (const uint32_t flag : {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_RDONLY}, uint32_t{BPF_F_WRONLY},
                              uint32_t{BPF_F_RDONLY_PROG}, uint32_t{BPF_F_WRONLY_PROG}})
    EXPECT_EQ(create(4, 4, 1, flag), -EINVAL) << flag;
}

TEST_P(CpuMapContract, ElementsAreQueues) {
  const Fd map(create_map(kType, 4, 4, 64));
  const uint32_t cpu = 0;
  uint32_t size = 192;
  uint32_t got = 0;
  EXPECT_EQ(lookup(map, &cpu, &got), -ENOENT);
  EXPECT_EQ(update(map, &cpu, &size), 0);
  EXPECT_EQ(lookup(map, &cpu, &got), 0);
  EXPECT_EQ(got, 192U);
  size = 0;
  EXPECT_EQ(update(map, &cpu, &size), 0) << "no queue empties the slot";
  EXPECT_EQ(lookup(map, &cpu, &got), -ENOENT);
}

TEST_P(CpuMapContract, UpdatesThatAreRefused) {
  const Fd map(create_map(kType, 4, 4, 64));
  const uint32_t cpu = 0;
  uint32_t size = 8;
  EXPECT_EQ(update(map, &cpu, &size, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(update(map, &cpu, &size, 3), -EINVAL);
  EXPECT_EQ(update(map, &cpu, &size, BPF_EXIST), 0);
  const uint32_t outside = 64;
  EXPECT_EQ(update(map, &outside, &size), -E2BIG);
  const uint32_t no_cpu = 63;
  EXPECT_EQ(update(map, &no_cpu, &size), -ENODEV);
  size = 16384;
  EXPECT_EQ(update(map, &cpu, &size), 0);
  size = 16385;
  EXPECT_EQ(update(map, &cpu, &size), -EOVERFLOW);
  EXPECT_EQ(update(map, &no_cpu, &size), -EOVERFLOW) << "the queue is looked at first";
}

TEST_P(CpuMapContract, Deletion) {
  const Fd map(create_map(kType, 4, 4, 2));
  const uint32_t cpu = 0;
  const uint32_t size = 8;
  uint32_t got = 0;
  EXPECT_EQ(erase(map, &cpu), 0) << "though there is nothing";
  ASSERT_EQ(update(map, &cpu, &size), 0);
  EXPECT_EQ(erase(map, &cpu), 0);
  EXPECT_EQ(lookup(map, &cpu, &got), -ENOENT);
  const uint32_t outside = 2;
  EXPECT_EQ(erase(map, &outside), -EINVAL);
}

TEST_P(CpuMapContract, KeysAreIndices) {
  const Fd map(create_map(kType, 4, 4, 2));
  uint32_t next = 77;
  EXPECT_EQ(next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, 0U);
  const uint32_t last = 1;
  EXPECT_EQ(next_key(map, &last, &next), -ENOENT);
}

TEST_P(CpuMapContract, Programs) {
  const Fd map(create_map(kType, 4, 8, 2));
  const Fd program(load_xdp(BPF_XDP_CPUMAP));
  ASSERT_GE(program.get(), 0);
  const uint32_t cpu = 0;
  const auto put = [&](int descriptor, uint32_t size = 8) {
    const bpf_cpumap_val value{.qsize = size, .bpf_prog = {.fd = descriptor}};
    return update(map, &cpu, &value);
  };
  ASSERT_EQ(put(program.get()), 0);
  bpf_cpumap_val got{};
  ASSERT_EQ(lookup(map, &cpu, &got), 0);
  EXPECT_EQ(got.qsize, 8U);
  EXPECT_EQ(got.bpf_prog.id, program_id(program));
  const Fd device(load_xdp(BPF_XDP_DEVMAP));
  const Fd frags(load_xdp(BPF_XDP_CPUMAP, BPF_F_XDP_HAS_FRAGS));
  // The kernel has one answer for whatever is wrong with a program.
  for (const int wrong : {12345, map.get(), device.get(), frags.get()}) EXPECT_EQ(put(wrong), -ENOMEM);
  ASSERT_EQ(lookup(map, &cpu, &got), 0) << "what was there stays";
  EXPECT_EQ(got.bpf_prog.id, program_id(program));
  EXPECT_EQ(put(12345, 0), 0) << "who empties a slot needs no program";
}

TEST_P(CpuMapContract, EntryProgramsAreNotTestRun) {
  EXPECT_EQ(returned(Fd(load_xdp(BPF_XDP_CPUMAP))), -EINVAL);
}

TEST_P(CpuMapContract, CommandsItLacks) { expect_single_commands_only(); }

TEST_P(CpuMapContract, RedirectsOrFallsBack) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t cpu = 0;
  const uint32_t size = 8;
  ASSERT_EQ(update(map, &cpu, &size), 0);
  EXPECT_EQ(redirected(map, 0, 0), XDP_REDIRECT);
  for (const int fallback : {XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX})
    EXPECT_EQ(redirected(map, 1, fallback), fallback);
  EXPECT_EQ(redirected(map, 0, BPF_F_BROADCAST), XDP_ABORTED) << "there is no broadcast to CPUs";
}

TEST_P(CpuMapContract, HelpersThatTakeIt) {
  const Fd map(create_map(kType, 4, 4, 4));
  for (const int helper : {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem})
    EXPECT_EQ(loads_call(map, helper), -EINVAL) << helper;
}

}  // namespace
}  // namespace skep::test
