#pragma once

#include "tests/syscall/bpf_fixture.hpp"

namespace skep::test {

// A contract that is tested by programs, too.
class ProgramContract : public Contract {
 protected:
  static std::vector<bpf_insn> load_map(uint8_t reg, const Fd& map) {
    return {insn(BPF_LD | BPF_DW | BPF_IMM, reg, BPF_PSEUDO_MAP_FD, 0, map.get()), insn(0, 0, 0, 0, 0)};
  }
  // reg = r10 + offset
  static std::vector<bpf_insn> stack_address(uint8_t reg, int32_t offset) {
    return {insn(BPF_ALU64 | BPF_MOV | BPF_X, reg, 10, 0, 0),
            insn(BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, offset)};
  }
  // *(u64 *)(r10 + offset) = value
  static std::vector<bpf_insn> store(int16_t offset, int32_t value) {
    return {insn(BPF_ST | BPF_MEM | BPF_DW, 10, 0, offset, value)};
  }
  static std::vector<bpf_insn> code(std::initializer_list<std::vector<bpf_insn>> parts) {
    std::vector<bpf_insn> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }
  // helper(map, r10 - 16, third), where 8 bytes at r10 - 16 and r10 - 8 are `given`; r0, or with
  // `gives_value` what is at r10 - 16 then.
  static std::vector<bpf_insn> call_with_value(const Fd& map, int32_t helper, int32_t given, int32_t third,
                                               bool gives_value = false) {
    auto all = code({store(-8, given),
                     store(-16, given),
                     load_map(1, map),
                     stack_address(2, -16),
                     {mov(3, third), mov(4, 0), call_helper(helper)}});
    if (gives_value) all.push_back(insn(BPF_LDX | BPF_MEM | BPF_DW, 0, 10, -16, 0));
    all.push_back(exit_insn());
    return all;
  }
  // What BPF_PROG_TEST_RUN says that a program returned, as the signed number it is; the load's or the run's
  // error if there was none.
  long run(std::span<const bpf_insn> program) {
    const Fd loaded(load(BPF_PROG_TYPE_SCHED_CLS, program));
    if (loaded.get() < 0) return loaded.get();
    std::vector<uint8_t> packet(64);
    bpf_attr attributes{};
    attributes.test.prog_fd = loaded.field();
    attributes.test.data_in = pointer(packet.data());
    attributes.test.data_size_in = static_cast<uint32_t>(packet.size());
    const long result = call(BPF_PROG_TEST_RUN, attributes);
    return result == 0 ? static_cast<int32_t>(attributes.test.retval) : result;
  }
  long lookup_and_delete(const Fd& map, const void* key, void* value, uint64_t flags = 0) {
    bpf_attr attributes{};
    attributes.map_fd = map.field();
    attributes.key = pointer(key);
    attributes.value = pointer(value);
    attributes.flags = flags;
    return call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attributes);
  }
  // A batch command on one element.
  long batch(int command, const Fd& map) {
    std::array<uint64_t, 64> memory{};
    uint32_t cursor = 0;
    bpf_attr attributes{};
    attributes.batch.map_fd = map.field();
    attributes.batch.keys = pointer(memory.data());
    attributes.batch.values = pointer(memory.data() + 32);
    attributes.batch.out_batch = pointer(&cursor);
    attributes.batch.count = 1;
    return call(command, attributes);
  }
};

}  // namespace skep::test
