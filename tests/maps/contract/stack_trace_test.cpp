#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

class StackTraces : public ProgramContract {
 protected:
  static constexpr uint32_t kDepth = 32;

  Fd create(uint32_t entries = 16, uint32_t flags = 0, uint32_t value_size = 8 * kDepth) {
    return Fd(create_map(BPF_MAP_TYPE_STACK_TRACE, 4, value_size, entries, flags));
  }
  // Runs a program as a raw tracepoint's, without arguments.
  long run_traced(std::span<const bpf_insn> program) {
    const Fd loaded(load(BPF_PROG_TYPE_RAW_TRACEPOINT, program));
    if (loaded.get() < 0) return loaded.get();
    return run_loaded(loaded);
  }
  long run_loaded(const Fd& program) {
    bpf_attr attributes{};
    attributes.test.prog_fd = program.field();
    const long result = call(BPF_PROG_TEST_RUN, attributes);
    return result == 0 ? static_cast<int32_t>(attributes.test.retval) : result;
  }
  // r0 = get_stackid(context in r6, map, flags)
  static std::vector<bpf_insn> get_id(const Fd& map, int32_t flags) {
    return code({{insn(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0)},
                 load_map(2, map),
                 {mov(3, flags), call_helper(BPF_FUNC_get_stackid)}});
  }
  static std::vector<bpf_insn> keep_context() { return {insn(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0)}; }
  static std::vector<bpf_insn> id_program(const Fd& map, int32_t flags = 0) {
    return code({keep_context(), get_id(map, flags), {exit_insn()}});
  }
  // Two calls at different places, the ids in r0: the first where they differ by the chain, else -1.
  static std::vector<bpf_insn> two_ids(const Fd& map, int32_t first_flags, int32_t second_flags) {
    return code({keep_context(), get_id(map, first_flags), get_id(map, second_flags), {exit_insn()}});
  }
  // r0 = get_stack(context, 64 bytes of stack, size, flags), or with `word` that word of it then.
  static std::vector<bpf_insn> stack_program(int32_t size, int32_t flags, int word = -1) {
    auto all = keep_context();
    for (int16_t at = -64; at < 0; at = static_cast<int16_t>(at + 8)) {
      const auto filled = store(at, -1);
      all.insert(all.end(), filled.begin(), filled.end());
    }
    const auto asked = code({{insn(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0)},
                             stack_address(2, -64),
                             {mov(3, size), mov(4, flags), call_helper(BPF_FUNC_get_stack)}});
    all.insert(all.end(), asked.begin(), asked.end());
    if (word >= 0)
      all.push_back(insn(BPF_LDX | BPF_MEM | BPF_W, 0, 10, static_cast<int16_t>(-64 + 8 * word), 0));
    all.push_back(exit_insn());
    return all;
  }
};
SKEP_CONTRACT(StackTraces);

TEST_P(StackTraces, Attributes) {
  constexpr uint32_t kType = BPF_MAP_TYPE_STACK_TRACE;
  EXPECT_GE(create().get(), 0);
  EXPECT_GE(Fd(create_map(kType, 4, 8, 1)).get(), 0);
  EXPECT_GE(Fd(create_map(kType, 4, 127 * 8, 3)).get(), 0);
  EXPECT_EQ(create_map(kType, 4, 128 * 8, 3), -EINVAL) << "deeper than stacks are looked at";
  for (const uint32_t size : {0U, 4U, 12U, 20U}) EXPECT_EQ(create_map(kType, 4, size, 3), -EINVAL) << size;
  for (const uint32_t size : {0U, 2U, 8U}) EXPECT_EQ(create_map(kType, size, 8, 3), -EINVAL) << size;
  EXPECT_EQ(create_map(kType, 4, 8, 0), -EINVAL);
  EXPECT_EQ(create_map(kType, 4, 8, (1U << 31) + 1), -E2BIG);
  EXPECT_GE(Fd(create_map(kType, 4, 32, 3, BPF_F_STACK_BUILD_ID)).get(), 0);
  EXPECT_GE(Fd(create_map(kType, 4, 127 * 32, 3, BPF_F_STACK_BUILD_ID)).get(), 0);
  EXPECT_EQ(create_map(kType, 4, 128 * 32, 3, BPF_F_STACK_BUILD_ID), -EINVAL);
  EXPECT_EQ(create_map(kType, 4, 40, 3, BPF_F_STACK_BUILD_ID), -EINVAL);
  for (const uint32_t flags : {uint32_t{BPF_F_RDONLY}, uint32_t{BPF_F_WRONLY}, uint32_t{BPF_F_NUMA_NODE}})
    EXPECT_GE(Fd(create_map(kType, 4, 8, 3, flags)).get(), 0) << flags;
  for (const uint32_t flags :
       {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_RDONLY_PROG}, uint32_t{BPF_F_WRONLY_PROG},
        uint32_t{BPF_F_ZERO_SEED}, uint32_t{BPF_F_MMAPABLE}})
    EXPECT_EQ(create_map(kType, 4, 8, 3, flags), -EINVAL) << flags;
}

TEST_P(StackTraces, CommandsOnWhatIsNotThere) {
  const Fd map = create(5);
  std::array<uint64_t, kDepth> value{};
  uint32_t id = 0;
  EXPECT_EQ(lookup(map, &id, value.data()), -ENOENT);
  EXPECT_EQ(update(map, &id, value.data()), -EINVAL);
  EXPECT_EQ(erase(map, &id), -ENOENT);
  EXPECT_EQ(next_key(map, nullptr, &id), -ENOENT);
  id = 7;
  EXPECT_EQ(lookup(map, &id, value.data()), -ENOENT) << "max_entries is rounded up to a power of two";
  EXPECT_EQ(erase(map, &id), -ENOENT);
  id = 8;
  EXPECT_EQ(lookup(map, &id, value.data()), -ENOENT);
  EXPECT_EQ(erase(map, &id), -E2BIG);
  EXPECT_EQ(lookup(map, &id, value.data(), BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(lookup(map, &id, value.data(), BPF_EXIST), -EINVAL);
  for (const int command : {BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH})
    EXPECT_EQ(batch(command, map), -kNotSupported) << command;
}

TEST_P(StackTraces, ChainsAreKeptAndReadAndDeleted) {
  const Fd map = create();
  const Fd program(load(BPF_PROG_TYPE_RAW_TRACEPOINT, id_program(map)));
  ASSERT_GE(program.get(), 0);
  const long id = run_loaded(program);
  ASSERT_GE(id, 0);
  ASSERT_LT(id, 16);
  EXPECT_EQ(run_loaded(program), id) << "the same chain again";
  auto key = static_cast<uint32_t>(id);
  std::array<uint64_t, kDepth> places{};
  EXPECT_EQ(lookup(map, &key, places.data()), 0);
  EXPECT_NE(places[0], 0U);
  const auto end = std::ranges::find(places, 0U);
  EXPECT_TRUE(std::all_of(end, places.end(), [](uint64_t place) { return place == 0; }))
      << "zeroes behind the last";
  uint32_t next = 99;
  EXPECT_EQ(next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, key);
  EXPECT_EQ(next_key(map, &key, &next), -ENOENT);
  const uint32_t beyond = 1000;
  EXPECT_EQ(next_key(map, &beyond, &next), 0) << "an id that is not there leads to the first";
  EXPECT_EQ(next, key);
  EXPECT_EQ(erase(map, &key), 0);
  EXPECT_EQ(lookup(map, &key, places.data()), -ENOENT);
  EXPECT_EQ(run_loaded(program), id);
}

TEST_P(StackTraces, FlagsOfIds) {
  const Fd map = create();
  for (const int32_t flags : {1 << 12, 1 << 11, 1 << 16, INT32_MIN})
    EXPECT_EQ(run_traced(id_program(map, flags)), -EINVAL) << flags;
  EXPECT_EQ(run_traced(id_program(map, 255)), -EFAULT) << "all is skipped";
  EXPECT_GE(run_traced(id_program(map, BPF_F_FAST_STACK_CMP)), 0);
  EXPECT_GE(run_traced(id_program(map, BPF_F_REUSE_STACKID)), 0);
}

TEST_P(StackTraces, OneBucketHoldsOneChain) {
  // Two chains that begin at different instructions.
  const Fd map = create(1);
  EXPECT_EQ(run_traced(two_ids(map, 0, 0)), -EEXIST);
  // The second's place is asked for before the first's is given up.
  EXPECT_EQ(run_traced(two_ids(map, 0, BPF_F_REUSE_STACKID)), -ENOMEM);
  const uint32_t id = 0;
  std::array<uint64_t, kDepth> places{};
  EXPECT_EQ(lookup(map, &id, places.data()), 0);
  EXPECT_EQ(erase(map, &id), 0);
  EXPECT_EQ(lookup(map, &id, places.data()), -ENOENT);
}

TEST_P(StackTraces, BuildIdsOfWhatIsNoUsersStack) {
  const Fd map = create(16, BPF_F_STACK_BUILD_ID, 32 * sizeof(bpf_stack_build_id));
  const long id = run_traced(id_program(map));
  ASSERT_GE(id, 0);
  const auto key = static_cast<uint32_t>(id);
  std::array<bpf_stack_build_id, 32> places{};
  ASSERT_EQ(lookup(map, &key, places.data()), 0);
  EXPECT_EQ(places[0].status, BPF_STACK_BUILD_ID_IP);
  EXPECT_TRUE(std::ranges::all_of(places[0].build_id, [](unsigned char byte) { return byte == 0; }));
  EXPECT_NE(places[0].ip, 0U);
}

TEST_P(StackTraces, StacksWithoutAMap) {
  EXPECT_EQ(run_traced(stack_program(8, 0)), 8) << "as much as fits";
  EXPECT_EQ(run_traced(stack_program(0, 0)), 0);
  EXPECT_EQ(run_traced(stack_program(12, 0)), -EINVAL) << "half a place";
  EXPECT_EQ(run_traced(stack_program(12, 0, 0)), 0) << "cleared when it fails";
  EXPECT_EQ(run_traced(stack_program(64, 1 << 9)), -EINVAL);
  EXPECT_EQ(run_traced(stack_program(64, BPF_F_USER_BUILD_ID)), -EINVAL) << "the kernel's has no build ids";
  EXPECT_EQ(run_traced(stack_program(40, BPF_F_USER_BUILD_ID | BPF_F_USER_STACK)), -EINVAL);
  EXPECT_EQ(run_traced(stack_program(64, 255)), -EFAULT);
  EXPECT_EQ(run_traced(stack_program(64, 255, 7)), 0) << "cleared when it fails";
}

TEST_P(StackTraces, OnlyTracingProgramsAskAndOnlyForIds) {
  const Fd map = create();
  EXPECT_EQ(run(id_program(map)), -EINVAL) << "a classifier";
  EXPECT_EQ(run(stack_program(8, 0)), -EINVAL);
  const Fd other(create_map(BPF_MAP_TYPE_HASH, 4, 8, 1));
  EXPECT_EQ(run_traced(id_program(other)), -EINVAL);
  EXPECT_EQ(load(BPF_PROG_TYPE_RAW_TRACEPOINT, id_program(map), "Proprietary"), -EINVAL);
  for (const int32_t helper : {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_delete_elem})
    EXPECT_EQ(run(call_with_value(map, helper, 0, 0)), -EINVAL) << helper;
}

TEST_P(StackTraces, RawTracepointsAreRunOnArguments) {
  // r0 = the third argument's low half
  const std::vector<bpf_insn> third{insn(BPF_LDX | BPF_MEM | BPF_W, 0, 1, 16, 0), exit_insn()};
  const Fd program(load(BPF_PROG_TYPE_RAW_TRACEPOINT, third));
  ASSERT_GE(program.get(), 0);
  const std::array<uint64_t, 13> arguments{1, 2, 0x7'0000'0003};
  bpf_attr attributes{};
  attributes.test.prog_fd = program.field();
  attributes.test.ctx_in = pointer(arguments.data());
  attributes.test.ctx_size_in = 24;
  EXPECT_EQ(call(BPF_PROG_TEST_RUN, attributes), 0);
  EXPECT_EQ(attributes.test.retval, 3U);
  attributes.test.ctx_size_in = 13 * 8;
  EXPECT_EQ(call(BPF_PROG_TEST_RUN, attributes), -EINVAL);
  attributes.test.ctx_size_in = 24;
  attributes.test.ctx_in = kNowhere;
  EXPECT_EQ(call(BPF_PROG_TEST_RUN, attributes), -EFAULT);
  attributes.test.ctx_in = pointer(arguments.data());
  attributes.test.repeat = 1;
  EXPECT_EQ(call(BPF_PROG_TEST_RUN, attributes), -EINVAL);
  attributes.test.repeat = 0;
  attributes.test.cpu = 1;
  EXPECT_EQ(call(BPF_PROG_TEST_RUN, attributes), -EINVAL) << "a CPU that is not asked for";
  attributes.test.cpu = 1U << 20;
  attributes.test.flags = BPF_F_TEST_RUN_ON_CPU;
  EXPECT_EQ(call(BPF_PROG_TEST_RUN, attributes), -ENXIO);
}

// What a place is, is the machine's own.
class Places : public StackTraces {};
INSTANTIATE_TEST_SUITE_P(Each, Places, testing::Values(Side::kMachine), side_name);

TEST_P(Places, ProgramAndInstruction) {
  const Fd map = create();
  const Fd program(load(BPF_PROG_TYPE_RAW_TRACEPOINT, id_program(map)));
  const auto key = static_cast<uint32_t>(run_loaded(program));
  std::array<uint64_t, kDepth> places{};
  ASSERT_EQ(lookup(map, &key, places.data()), 0);
  EXPECT_EQ(places[0], uint64_t{program_id(program)} << 32 | 5);
  EXPECT_EQ(places[1], 0U);
}

TEST_P(Places, AUsersStackIsNotThere) {
  const Fd map = create();
  EXPECT_EQ(run_traced(id_program(map, BPF_F_USER_STACK)), -EFAULT);
  EXPECT_EQ(run_traced(stack_program(64, BPF_F_USER_STACK)), 0);
  EXPECT_EQ(run_traced(stack_program(64, BPF_F_USER_STACK, 3)), 0) << "cleared";
  EXPECT_EQ(run_traced(stack_program(64, BPF_F_USER_STACK | 1)), -EFAULT);
}

TEST_P(Places, ReuseTakesTheBucketWhereThereIsRoom) {
  // Of three elements in four buckets two are enough to go round.
  const Fd map = create(3);
  const Fd program(load(BPF_PROG_TYPE_RAW_TRACEPOINT, id_program(map, BPF_F_REUSE_STACKID)));
  const long first = run_loaded(program);
  ASSERT_GE(first, 0);
  for (int n = 0; n < 10; ++n) EXPECT_EQ(run_loaded(program), first);
}

}  // namespace
}  // namespace skep::test
