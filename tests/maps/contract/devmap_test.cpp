#include <cerrno>

#include "redirect_programs.hpp"

namespace skep::test {
namespace {

constexpr uint32_t kType = BPF_MAP_TYPE_DEVMAP;

class DevMapContract : public RedirectMapContract {
 protected:
  DevMapContract() : RedirectMapContract(kType) {}
};
SKEP_CONTRACT(DevMapContract);

TEST_P(DevMapContract, Attributes) {
  EXPECT_EQ(create(4, 4, 1), 0);
  EXPECT_EQ(create(4, 8, 1), 0);
  EXPECT_EQ(create(4, 8, 0), -EINVAL);
  EXPECT_EQ(create(8, 8, 1), -EINVAL);
  EXPECT_EQ(create(4, 0, 1), -EINVAL);
  EXPECT_EQ(create(4, 5, 1), -EINVAL);
  EXPECT_EQ(create(4, 12, 1), -EINVAL);
  EXPECT_EQ(create(4, 4, 1, BPF_F_RDONLY), 0);
  EXPECT_EQ(create(4, 4, 1, BPF_F_WRONLY), 0);
  EXPECT_EQ(create(4, 4, 1, BPF_F_NUMA_NODE), 0);
  for (const uint32_t flag :
       {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_RDONLY_PROG}, uint32_t{BPF_F_WRONLY_PROG},
        uint32_t{BPF_F_MMAPABLE}, uint32_t{BPF_F_ZERO_SEED}, uint32_t{BPF_F_INNER_MAP}})
    EXPECT_EQ(create(4, 4, 1, flag), -EINVAL) << flag;
}

TEST_P(DevMapContract, IsReadOnlyForPrograms) {
  const Fd map(create_map(kType, 4, 4, 3));
  bpf_map_info out{};
  ASSERT_EQ(info(map, out), 0);
  EXPECT_EQ(out.type, kType);
  EXPECT_EQ(out.max_entries, 3U);
  EXPECT_EQ(out.map_flags, uint32_t{BPF_F_RDONLY_PROG});
}

TEST_P(DevMapContract, ElementsAreDevices) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 2;
  uint32_t value = kLoopback;
  uint32_t got = 0;
  EXPECT_EQ(lookup(map, &key, &got), -ENOENT);
  EXPECT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(lookup(map, &key, &got), 0);
  EXPECT_EQ(got, kLoopback);
  value = kNoDevice;
  EXPECT_EQ(update(map, &key, &value), -EINVAL);
  EXPECT_EQ(lookup(map, &key, &got), 0) << "what was there stays";
  value = 0;
  EXPECT_EQ(update(map, &key, &value), 0) << "no device empties the slot";
  EXPECT_EQ(lookup(map, &key, &got), -ENOENT);
}

TEST_P(DevMapContract, UpdateFlags) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 1;
  const uint32_t value = kLoopback;
  EXPECT_EQ(update(map, &key, &value, BPF_NOEXIST), -EEXIST) << "every slot is there";
  EXPECT_EQ(update(map, &key, &value, BPF_EXIST), 0);
  EXPECT_EQ(update(map, &key, &value, 3), -EINVAL);
  EXPECT_EQ(update(map, &key, &value, BPF_F_LOCK), -EINVAL);
  const uint32_t outside = 4;
  EXPECT_EQ(update(map, &outside, &value), -E2BIG);
  EXPECT_EQ(update(map, &outside, &value, BPF_NOEXIST), -E2BIG);
}

TEST_P(DevMapContract, Deletion) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 3;
  const uint32_t outside = 4;
  uint32_t value = kLoopback;
  EXPECT_EQ(erase(map, &key), 0) << "though there is nothing";
  ASSERT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(erase(map, &key), 0);
  EXPECT_EQ(lookup(map, &key, &value), -ENOENT);
  EXPECT_EQ(erase(map, &outside), -EINVAL);
}

TEST_P(DevMapContract, KeysAreIndices) {
  const Fd map(create_map(kType, 4, 4, 2));
  uint32_t next = 77;
  EXPECT_EQ(next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, 0U);
  const uint32_t first = 0;
  EXPECT_EQ(next_key(map, &first, &next), 0);
  EXPECT_EQ(next, 1U);
  const uint32_t last = 1;
  EXPECT_EQ(next_key(map, &last, &next), -ENOENT);
  const uint32_t outside = 9;
  EXPECT_EQ(next_key(map, &outside, &next), 0);
  EXPECT_EQ(next, 0U);
}

TEST_P(DevMapContract, ProgramsAreWrittenByDescriptorAndReadById) {
  const Fd map(create_map(kType, 4, 8, 4));
  const Fd program(load_xdp(BPF_XDP_DEVMAP));
  ASSERT_GE(program.get(), 0);
  const uint32_t key = 0;
  bpf_devmap_val value{.ifindex = kLoopback, .bpf_prog = {.fd = program.get()}};
  ASSERT_EQ(update(map, &key, &value), 0);
  bpf_devmap_val got{};
  ASSERT_EQ(lookup(map, &key, &got), 0);
  EXPECT_EQ(got.ifindex, kLoopback);
  EXPECT_EQ(got.bpf_prog.id, program_id(program));
  // A descriptor of 0 or below is none.
  for (const int none : {0, -1}) {
    value.bpf_prog.fd = none;
    EXPECT_EQ(update(map, &key, &value), 0);
    ASSERT_EQ(lookup(map, &key, &got), 0);
    EXPECT_EQ(got.bpf_prog.id, 0U);
  }
}

TEST_P(DevMapContract, ProgramsOfOtherKindsAreRefused) {
  const Fd map(create_map(kType, 4, 8, 4));
  const uint32_t key = 0;
  const auto refused = [&](uint32_t ifindex, int descriptor) {
    const bpf_devmap_val value{.ifindex = ifindex, .bpf_prog = {.fd = descriptor}};
    return update(map, &key, &value);
  };
  const Fd plain(load_xdp(0));
  const Fd cpu(load_xdp(BPF_XDP_CPUMAP));
  const Fd good(load_xdp(BPF_XDP_DEVMAP));
  const Fd classifier(load(BPF_PROG_TYPE_SCHED_CLS, return_value(0)));
  EXPECT_EQ(refused(kLoopback, 12345), -EINVAL);
  EXPECT_EQ(refused(kLoopback, map.get()), -EINVAL);
  EXPECT_EQ(refused(kLoopback, plain.get()), -EINVAL);
  EXPECT_EQ(refused(kLoopback, cpu.get()), -EINVAL);
  EXPECT_EQ(refused(kLoopback, classifier.get()), -EINVAL);
  EXPECT_EQ(refused(0, good.get()), -EINVAL) << "a program without a device";
  EXPECT_EQ(refused(kLoopback, good.get()), 0);
  // All programs of a map are alike.
  const Fd frags(load_xdp(BPF_XDP_DEVMAP, BPF_F_XDP_HAS_FRAGS));
  ASSERT_GE(frags.get(), 0);
  EXPECT_EQ(refused(kLoopback, frags.get()), -EINVAL);
}

// Who names the map decides of what kind its programs are.
TEST_P(DevMapContract, BelongsToTheFirstProgramThatNamesIt) {
  const Fd map(create_map(kType, 4, 8, 4));
  const auto code = redirecting(map, 0, 0);
  bpf_attr attributes = load_attributes(BPF_PROG_TYPE_XDP, code);
  attributes.prog_flags = BPF_F_XDP_HAS_FRAGS;
  const Fd first(load(attributes));
  ASSERT_GE(first.get(), 0);
  EXPECT_EQ(load(BPF_PROG_TYPE_XDP, code), -EINVAL);
  const Fd entry(load_xdp(BPF_XDP_DEVMAP));
  const uint32_t key = 0;
  const bpf_devmap_val value{.ifindex = kLoopback, .bpf_prog = {.fd = entry.get()}};
  EXPECT_EQ(update(map, &key, &value), -EINVAL);
}

TEST_P(DevMapContract, EntryProgramsAreNotTestRun) {
  EXPECT_EQ(returned(Fd(load_xdp(BPF_XDP_DEVMAP))), -EINVAL);
  EXPECT_EQ(returned(Fd(load_xdp(0))), XDP_PASS);
}

TEST_P(DevMapContract, CommandsItLacks) { expect_single_commands_only(); }

TEST_P(DevMapContract, FreezeForbidsUpdates) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 0;
  const uint32_t value = kLoopback;
  ASSERT_EQ(freeze(map), 0);
  EXPECT_EQ(update(map, &key, &value), -EPERM);
  EXPECT_EQ(erase(map, &key), -EPERM);
}

TEST_P(DevMapContract, RedirectsOrFallsBack) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 1;
  const uint32_t value = kLoopback;
  ASSERT_EQ(update(map, &key, &value), 0);
  EXPECT_EQ(redirected(map, 1, 0), XDP_REDIRECT);
  EXPECT_EQ(redirected(map, 1, XDP_PASS), XDP_REDIRECT);
  EXPECT_EQ(redirected(map, 2, 0), XDP_ABORTED);
  for (const int fallback : {XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX}) {
    EXPECT_EQ(redirected(map, 2, fallback), fallback);
    EXPECT_EQ(redirected(map, 4, fallback), fallback) << "outside";
  }
  EXPECT_EQ(redirected(map, 1, 4), XDP_ABORTED) << "an unknown flag";
  EXPECT_EQ(redirected(map, 2, BPF_F_BROADCAST), XDP_REDIRECT) << "whatever the key is";
  EXPECT_EQ(redirected(map, 2, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS), XDP_REDIRECT);
  EXPECT_EQ(redirected(map, 2, BPF_F_EXCLUDE_INGRESS | int{XDP_PASS}), XDP_PASS);
  EXPECT_EQ(redirected(map, 1, BPF_F_EXCLUDE_INGRESS), XDP_REDIRECT);
}

TEST_P(DevMapContract, HelpersThatTakeIt) {
  const Fd map(create_map(kType, 4, 4, 4));
  EXPECT_EQ(loads_call(map, BPF_FUNC_map_lookup_elem), 0);
  // The kernel looks first whether the program may write to the map at all.
  for (const int helper : {BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem})
    EXPECT_EQ(loads_call(map, helper), on_host() ? -EACCES : -EINVAL) << helper;
  const Fd hash(create_map(BPF_MAP_TYPE_HASH, 4, 4, 4));
  const auto code = redirecting(hash, 0, 0);
  EXPECT_EQ(load(BPF_PROG_TYPE_XDP, code), -EINVAL) << "bpf_redirect_map takes no others";
  const auto on_map = redirecting(map, 0, 0);
  EXPECT_EQ(load(BPF_PROG_TYPE_SCHED_CLS, on_map), -EINVAL) << "nor is it for other programs";
}

TEST_P(DevMapContract, ProgramsReadValues) {
  const Fd map(create_map(kType, 4, 8, 4));
  const Fd entry(load_xdp(BPF_XDP_DEVMAP));
  const uint32_t key = 2;
  const bpf_devmap_val value{.ifindex = kLoopback, .bpf_prog = {.fd = entry.get()}};
  ASSERT_EQ(update(map, &key, &value), 0);
  const auto read = [&](int32_t index, int16_t offset) {
    const std::vector<bpf_insn> code{insn(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, index),
                                     insn(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map.get()),
                                     insn(0, 0, 0, 0, 0),
                                     insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
                                     insn(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
                                     call_helper(BPF_FUNC_map_lookup_elem),
                                     insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 1, 0),
                                     exit_insn(),
                                     insn(BPF_LDX | BPF_MEM | BPF_W, 0, 0, offset, 0),
                                     exit_insn()};
    return returned(Fd(load(BPF_PROG_TYPE_XDP, code)));
  };
  EXPECT_EQ(read(2, 0), kLoopback);
  EXPECT_EQ(read(2, 4), program_id(entry));
  EXPECT_EQ(read(1, 0), 0) << "nothing there";
  EXPECT_EQ(read(4, 0), 0) << "outside";
}

// bpf_redirect itself, which the maps took the place of.
TEST_P(DevMapContract, RedirectByIndexKnowsNoFlags) {
  const auto returns = [&](uint32_t type, int32_t flags) {
    const std::vector<bpf_insn> code{mov(1, kLoopback), mov(2, flags), call_helper(BPF_FUNC_redirect),
                                     exit_insn()};
    return returned(Fd(load(type, code)));
  };
  EXPECT_EQ(returns(BPF_PROG_TYPE_XDP, 0), XDP_REDIRECT);
  EXPECT_EQ(returns(BPF_PROG_TYPE_XDP, 1), XDP_ABORTED);
  EXPECT_EQ(returns(BPF_PROG_TYPE_SCHED_CLS, 0), 7) << "TC_ACT_REDIRECT";
  EXPECT_EQ(returns(BPF_PROG_TYPE_SCHED_CLS, BPF_F_INGRESS), 7);
  EXPECT_EQ(returns(BPF_PROG_TYPE_SCHED_CLS, 2), 2) << "TC_ACT_SHOT";
  EXPECT_EQ(returns(BPF_PROG_TYPE_SOCKET_FILTER, 0), -EBADF) << "not loaded";
}

// egress_ifindex is for programs of device maps alone.
TEST_P(DevMapContract, EntryProgramsSeeTheEgressDevice) {
  const std::vector<bpf_insn> code{insn(BPF_LDX | BPF_MEM | BPF_W, 0, 1, 20, 0), exit_insn()};
  bpf_attr attributes = load_attributes(BPF_PROG_TYPE_XDP, code);
  attributes.expected_attach_type = BPF_XDP_DEVMAP;
  EXPECT_GE(Fd(load(attributes)).get(), 0);
}

}  // namespace
}  // namespace skep::test
