#pragma once

#include <algorithm>

#include "tests/syscall/bpf_fixture.hpp"

namespace skep::test {

// The loopback device, which is there on both sides, and one that is on neither.
inline constexpr uint32_t kLoopback = 1;
inline constexpr uint32_t kNoDevice = 0x7ffffff0;

// What the tests of bpf_redirect_map's maps have in common.
class RedirectMapContract : public Contract {
 protected:
  explicit RedirectMapContract(uint32_t type) : type_(type) {}

  // What the creation of a map of the type says: 0 or a negative error number.
  long create(uint32_t key, uint32_t value, uint32_t entries, uint32_t flags = 0) {
    const Fd map(create_map(type_, key, value, entries, flags));
    return std::min(map.get(), 0);
  }

  // An XDP program that returns XDP_PASS.
  long load_xdp(uint32_t attach_type, uint32_t flags = 0) {
    const auto code = return_value(XDP_PASS);
    bpf_attr attributes = load_attributes(BPF_PROG_TYPE_XDP, code);
    attributes.expected_attach_type = attach_type;
    attributes.prog_flags = flags;
    return load(attributes);
  }

  // return bpf_redirect_map(map, key, flags)
  static std::vector<bpf_insn> redirecting(const Fd& map, int32_t key, int32_t flags) {
    return {insn(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map.get()),
            insn(0, 0, 0, 0, 0),
            mov(2, key),
            mov(3, flags),
            call_helper(BPF_FUNC_redirect_map),
            exit_insn()};
  }
  // What BPF_PROG_TEST_RUN says that a program returned; a negative error number if it did not run.
  long returned(const Fd& program) {
    std::vector<uint8_t> packet(64);
    bpf_attr attributes{};
    attributes.test.prog_fd = program.field();
    attributes.test.data_in = pointer(packet.data());
    attributes.test.data_size_in = static_cast<uint32_t>(packet.size());
    const long result = call(BPF_PROG_TEST_RUN, attributes);
    return result == 0 ? static_cast<long>(attributes.test.retval) : result;
  }
  long redirected(const Fd& map, int32_t key, int32_t flags) {
    const auto code = redirecting(map, key, flags);
    const Fd program(load(BPF_PROG_TYPE_XDP, code));
    return program.get() < 0 ? program.get() : returned(program);
  }
  // A call of a helper that takes the map, a key on the stack and a value there: map_lookup_elem and others.
  long loads_call(const Fd& map, int32_t helper) {
    const std::vector<bpf_insn> code{insn(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 0),
                                     insn(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map.get()),
                                     insn(0, 0, 0, 0, 0),
                                     insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
                                     insn(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -8),
                                     insn(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0),
                                     mov(4, 0),
                                     call_helper(helper),
                                     mov(0, 0),
                                     exit_insn()};
    const Fd program(load(BPF_PROG_TYPE_XDP, code));
    return program.get() < 0 ? program.get() : 0;
  }
  // BPF_MAP_LOOKUP_BATCH and its like, for one element.
  long batch(const Fd& map, int command) {
    uint64_t key = 0;
    uint64_t value = 0;
    uint32_t cursor = 0;
    bpf_attr attributes{};
    attributes.batch.map_fd = map.field();
    attributes.batch.keys = pointer(&key);
    attributes.batch.values = pointer(&value);
    attributes.batch.out_batch = pointer(&cursor);
    attributes.batch.count = 1;
    return call(command, attributes);
  }
  long lookup_and_delete(const Fd& map, const void* key, void* value) {
    bpf_attr attributes{};
    attributes.map_fd = map.field();
    attributes.key = pointer(key);
    attributes.value = pointer(value);
    return call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attributes);
  }
  // None of these maps has a command that takes an element out, or one on several.
  void expect_single_commands_only() {
    const Fd map(create_map(type_, 4, 4, 4));
    const uint32_t key = 0;
    uint32_t value = 0;
    EXPECT_EQ(lookup_and_delete(map, &key, &value), -kNotSupported);
    for (const int command :
         {BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH})
      EXPECT_EQ(batch(map, command), -kNotSupported) << command;
  }

 private:
  uint32_t type_;
};

}  // namespace skep::test
