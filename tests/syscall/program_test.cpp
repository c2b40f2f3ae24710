#include <sys/mman.h>

#include <cerrno>

#include "bpf_fixture.hpp"
#include "vm/program_type.hpp"

namespace skep::test {
namespace {

class Loading : public Contract {};
SKEP_CONTRACT(Loading);

// r1 = map by `source` (BPF_PSEUDO_MAP_FD, _VALUE, _IDX, _IDX_VALUE); r0 = 0; exit
std::vector<bpf_insn> with_map(uint8_t source, int32_t value, int32_t offset = 0) {
  return {insn(BPF_LD | BPF_IMM | BPF_DW, 1, source, 0, value), insn(0, 0, 0, 0, offset), mov(0, 0),
          exit_insn()};
}

TEST_P(Loading, Succeeds) {
  const auto code = return_value(1);
  for (const uint32_t type : {uint32_t{BPF_PROG_TYPE_SOCKET_FILTER}, uint32_t{BPF_PROG_TYPE_XDP},
                              uint32_t{BPF_PROG_TYPE_SCHED_CLS}, uint32_t{BPF_PROG_TYPE_TRACEPOINT}}) {
    const Fd program(load(type, code));
    EXPECT_GE(program.get(), 0) << type;
  }
}

TEST_P(Loading, RefusedAttributes) {
  const auto code = return_value(1);
  const bpf_attr good = load_attributes(BPF_PROG_TYPE_SOCKET_FILTER, code);
  bpf_attr attributes = good;
  attributes.insn_cnt = 0;
  EXPECT_EQ(load(attributes), -E2BIG);
  attributes.insn_cnt = 1'000'001;
  EXPECT_EQ(load(attributes), -E2BIG);
  attributes = good;
  attributes.prog_type = 9999;
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes.prog_type = BPF_PROG_TYPE_UNSPEC;
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes = good;
  attributes.insns = kNowhere;
  EXPECT_EQ(load(attributes), -EFAULT);
  attributes = good;
  attributes.license = kNowhere;
  EXPECT_EQ(load(attributes), -EFAULT);
  attributes = good;
  attributes.prog_flags = 1U << 30;
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes = good;
  std::strcpy(attributes.prog_name, "bad name");
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes = good;
  attributes.attach_btf_id = 1;
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes = good;
  attributes.attach_prog_fd = 0x7fffffff;
  EXPECT_EQ(load(attributes), -EINVAL);
  const Fd other(load(good));
  attributes.attach_prog_fd = other.field();
  EXPECT_EQ(load(attributes), -EINVAL);
}

TEST_P(Loading, ExpectedAttachTypes) {
  const auto code = return_value(1);
  bpf_attr attributes = load_attributes(BPF_PROG_TYPE_CGROUP_SKB, code);
  attributes.expected_attach_type = BPF_CGROUP_INET_EGRESS;
  EXPECT_GE(Fd(load(attributes)).get(), 0);
  attributes.expected_attach_type = BPF_CGROUP_DEVICE;
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes = load_attributes(BPF_PROG_TYPE_CGROUP_SOCK, code);
  EXPECT_GE(Fd(load(attributes)).get(), 0);
  attributes.expected_attach_type = BPF_CGROUP_INET_SOCK_CREATE;
  EXPECT_GE(Fd(load(attributes)).get(), 0);
  attributes.expected_attach_type = BPF_CGROUP_INET4_BIND;
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes = load_attributes(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, code);
  EXPECT_EQ(load(attributes), -EINVAL);
  attributes.expected_attach_type = BPF_CGROUP_INET4_BIND;
  EXPECT_GE(Fd(load(attributes)).get(), 0);
}

TEST_P(Loading, RefusedPrograms) {
  const auto refused = [&](std::vector<bpf_insn> code) { return load(BPF_PROG_TYPE_SOCKET_FILTER, code); };
  // No exit; an unknown opcode; a jump out of the program; reserved fields; an unknown helper; a kernel
  // function that there is not.
  EXPECT_EQ(refused({mov(0, 0)}), -EINVAL);
  EXPECT_EQ(refused({insn(0xff, 0, 0, 0, 0), exit_insn()}), -EINVAL);
  EXPECT_EQ(refused({mov(0, 0), insn(BPF_JMP | BPF_JA, 0, 0, 10, 0), exit_insn()}), -EINVAL);
  EXPECT_EQ(refused({insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 3, 0, 0), exit_insn()}), -EINVAL);
  EXPECT_EQ(refused({call_helper(99999), exit_insn()}), -EINVAL);
}

TEST_P(Loading, GplOnlyHelpers) {
  // trace_printk("", 0): refused for the licence before its arguments are looked at.
  const std::vector<bpf_insn> code{call_helper(BPF_FUNC_trace_printk), mov(0, 0), exit_insn()};
  EXPECT_EQ(load(BPF_PROG_TYPE_SOCKET_FILTER, code, "Proprietary"), -EINVAL);
}

TEST_P(Loading, MapsByDescriptorAndIndex) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 1));
  const Fd bigger(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 2));
  const Fd hash(create_map(BPF_MAP_TYPE_HASH, 4, 8, 1));
  constexpr uint32_t kType = BPF_PROG_TYPE_SOCKET_FILTER;
  EXPECT_GE(Fd(load(kType, with_map(BPF_PSEUDO_MAP_FD, map.get()))).get(), 0);
  EXPECT_GE(Fd(load(kType, with_map(BPF_PSEUDO_MAP_VALUE, map.get(), 4))).get(), 0);
  EXPECT_EQ(load(kType, with_map(BPF_PSEUDO_MAP_VALUE, map.get(), 8)), -EINVAL);
  EXPECT_EQ(load(kType, with_map(BPF_PSEUDO_MAP_FD, 0x7fffffff)), -EBADF);
  EXPECT_EQ(load(kType, with_map(BPF_PSEUDO_MAP_FD, 0)), -EINVAL);
  const std::array<int, 2> descriptors{-1, map.get()};
  for (const uint8_t source : {uint8_t{BPF_PSEUDO_MAP_IDX}, uint8_t{BPF_PSEUDO_MAP_IDX_VALUE}}) {
    const auto code = with_map(source, 1);
    bpf_attr attributes = load_attributes(kType, code);
    EXPECT_EQ(load(attributes), -EPROTO);
    attributes.fd_array = pointer(descriptors.data());
    EXPECT_GE(Fd(load(attributes)).get(), 0);
    attributes.fd_array = kNowhere;
    EXPECT_EQ(load(attributes), -EFAULT);
  }
  const auto code = with_map(BPF_PSEUDO_MAP_IDX, 0);
  bpf_attr attributes = load_attributes(kType, code);
  attributes.fd_array = pointer(descriptors.data());
  EXPECT_EQ(load(attributes), -EBADF);
}

class LoadLogs : public Contract {
 protected:
  // A program that both sides refuse after the log has begun.
  const std::vector<bpf_insn> bad_ = {call_helper(99999), exit_insn()};
  bpf_attr attributes_ = load_attributes(BPF_PROG_TYPE_SOCKET_FILTER, bad_);
  static constexpr uint32_t kLogTrueSize = 140;  // offset of log_true_size, which Debian 12's header lacks

  uint32_t true_size() const {
    uint32_t size = 0;
    std::memcpy(&size, reinterpret_cast<const std::byte*>(&attributes_) + kLogTrueSize, sizeof size);
    return size;
  }
  void clear_true_size() {
    std::memset(reinterpret_cast<std::byte*>(&attributes_) + kLogTrueSize, 0, sizeof(uint32_t));
  }
  // Loads and has the answers in attributes_.
  long load_it() {
    clear_true_size();
    return call(BPF_PROG_LOAD, attributes_);
  }
};
SKEP_CONTRACT(LoadLogs);

TEST_P(LoadLogs, SaysWhatIsWrong) {
  std::string log(65536, 'x');
  attributes_.log_buf = pointer(log.data());
  attributes_.log_size = static_cast<uint32_t>(log.size());
  attributes_.log_level = 1;
  EXPECT_EQ(load_it(), -EINVAL);
  const std::string text = log.c_str();
  EXPECT_NE(text.find("invalid func unknown#99999"), std::string::npos) << text;
  EXPECT_NE(text.find("processed "), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with(
      " insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"))
      << text;
  EXPECT_EQ(true_size(), text.size() + 1);
}

TEST_P(LoadLogs, MissingMaps) {
  const auto code = with_map(BPF_PSEUDO_MAP_FD, 0x7fffffff);
  attributes_ = load_attributes(BPF_PROG_TYPE_SOCKET_FILTER, code);
  std::string log(4096, 'x');
  attributes_.log_buf = pointer(log.data());
  attributes_.log_size = static_cast<uint32_t>(log.size());
  attributes_.log_level = 2;
  EXPECT_EQ(load_it(), -EBADF);
  const std::string text = log.c_str();
  EXPECT_NE(text.find("fd 2147483647 is not pointing to valid bpf_map\n"), std::string::npos) << text;
  EXPECT_NE(text.find("processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 "
                      "mark_read 0\n"),
            std::string::npos)
      << text;
}

TEST_P(LoadLogs, TooSmall) {
  std::string whole(65536, 'x');
  attributes_.log_buf = pointer(whole.data());
  attributes_.log_size = static_cast<uint32_t>(whole.size());
  attributes_.log_level = 1;
  ASSERT_EQ(load_it(), -EINVAL);
  const std::string text = whole.c_str();
  // The last bytes of it.
  std::string log(64, 'x');
  attributes_.log_buf = pointer(log.data());
  attributes_.log_size = 20;
  EXPECT_EQ(load_it(), -ENOSPC);
  EXPECT_EQ(std::string(log.c_str()), text.substr(text.size() - 19));
  EXPECT_EQ(log[20], 'x');
  EXPECT_EQ(true_size(), text.size() + 1);
  // The first bytes of it.
  attributes_.log_level = 1 | 8;  // BPF_LOG_FIXED
  EXPECT_EQ(load_it(), -ENOSPC);
  EXPECT_EQ(std::string(log.c_str()), text.substr(0, 19));
  // Just enough.
  log.assign(text.size() + 8, 'x');
  attributes_.log_buf = pointer(log.data());
  attributes_.log_size = static_cast<uint32_t>(text.size() + 1);
  attributes_.log_level = 1;
  EXPECT_EQ(load_it(), -EINVAL);
  EXPECT_EQ(std::string(log.c_str()), text);
  attributes_.log_size = static_cast<uint32_t>(text.size());
  EXPECT_EQ(load_it(), -ENOSPC);
}

TEST_P(LoadLogs, NotAskedFor) {
  EXPECT_EQ(load_it(), -EINVAL);
  EXPECT_EQ(true_size(), 0U);
  // Only the size.
  attributes_.log_level = 1;
  EXPECT_EQ(load_it(), -EINVAL);
  EXPECT_GT(true_size(), 80U);
}

TEST_P(LoadLogs, RefusedAttributes) {
  std::string log(4096, 'x');
  const auto good = return_value(0);
  attributes_ = load_attributes(BPF_PROG_TYPE_SOCKET_FILTER, good);
  attributes_.log_level = 1;
  attributes_.log_size = 100;
  EXPECT_EQ(load_it(), -EINVAL);
  attributes_.log_buf = pointer(log.data());
  attributes_.log_size = 0;
  EXPECT_EQ(load_it(), -EINVAL);
  attributes_.log_size = 100;
  attributes_.log_level = 0;
  EXPECT_EQ(load_it(), -EINVAL);
  attributes_.log_level = 16;
  EXPECT_EQ(load_it(), -EINVAL);
  attributes_.log_level = 1;
  attributes_.log_buf = kNowhere;
  EXPECT_EQ(load_it(), -EFAULT);
  attributes_.log_buf = pointer(log.data());
  attributes_.log_size = 4096;
  EXPECT_GE(Fd(load_it()).get(), 0);
}

class ProgramArrays : public Contract {};
SKEP_CONTRACT(ProgramArrays);

TEST_P(ProgramArrays, HoldProgramsOfOneType) {
  const Fd array(create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4));
  ASSERT_GE(array.get(), 0);
  const Fd xdp(load(BPF_PROG_TYPE_XDP, return_value(1)));
  const Fd other(load(BPF_PROG_TYPE_XDP, return_value(2)));
  const Fd filter(load(BPF_PROG_TYPE_SOCKET_FILTER, return_value(1)));
  uint32_t key = 1;
  uint32_t value = 0;
  EXPECT_EQ(lookup(array, &key, &value), -ENOENT);
  uint32_t descriptor = xdp.field();
  EXPECT_EQ(update(array, &key, &descriptor), 0);
  EXPECT_EQ(lookup(array, &key, &value), 0);
  EXPECT_EQ(value, program_id(xdp));
  descriptor = filter.field();
  EXPECT_EQ(update(array, &key, &descriptor), -EINVAL);
  descriptor = other.field();
  EXPECT_EQ(update(array, &key, &descriptor, BPF_NOEXIST), -EINVAL);
  EXPECT_EQ(update(array, &key, &descriptor), 0);
  descriptor = array.field();
  EXPECT_EQ(update(array, &key, &descriptor), -EINVAL);
  descriptor = 0x7fffffff;
  EXPECT_EQ(update(array, &key, &descriptor), -EBADF);
  key = 4;
  descriptor = xdp.field();
  EXPECT_EQ(update(array, &key, &descriptor), -E2BIG);
  key = 1;
  EXPECT_EQ(erase(array, &key), 0);
  EXPECT_EQ(erase(array, &key), -ENOENT);
}

TEST_P(ProgramArrays, CallersDecideTheTypeToo) {
  const Fd array(create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4));
  // Calls through the array: r1 is the context already.
  const std::vector<bpf_insn> code{insn(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, array.get()),
                                   insn(0, 0, 0, 0, 0),
                                   mov(3, 0),
                                   call_helper(BPF_FUNC_tail_call),
                                   mov(0, 1),
                                   exit_insn()};
  const Fd caller(load(BPF_PROG_TYPE_XDP, code));
  ASSERT_GE(caller.get(), 0);
  const Fd filter(load(BPF_PROG_TYPE_SOCKET_FILTER, return_value(1)));
  const uint32_t key = 0;
  const uint32_t descriptor = filter.field();
  EXPECT_EQ(update(array, &key, &descriptor), -EINVAL);
  EXPECT_EQ(load(BPF_PROG_TYPE_SCHED_CLS, code), -EINVAL);
}

TEST_P(ProgramArrays, ProgramsStayWhileTheArrayDoes) {
  Fd array(create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4));
  Fd program(load(BPF_PROG_TYPE_XDP, return_value(1)));
  const uint32_t id = program_id(program);
  const uint32_t key = 0;
  const uint32_t descriptor = program.field();
  ASSERT_EQ(update(array, &key, &descriptor), 0);
  program.reset();
  EXPECT_GE(Fd(by_id(BPF_PROG_GET_FD_BY_ID, id)).get(), 0);
  EXPECT_EQ(erase(array, &key), 0);
}

class BoundMaps : public Contract {};
SKEP_CONTRACT(BoundMaps);

TEST_P(BoundMaps, BelongToTheProgram) {
  const Fd program(load(BPF_PROG_TYPE_SOCKET_FILTER, return_value(1)));
  Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  const uint32_t id = map_id(map);
  bpf_attr attributes{};
  attributes.prog_bind_map.prog_fd = program.field();
  attributes.prog_bind_map.map_fd = map.field();
  EXPECT_EQ(call(BPF_PROG_BIND_MAP, attributes), 0);
  EXPECT_EQ(call(BPF_PROG_BIND_MAP, attributes), 0);
  attributes.prog_bind_map.flags = 1;
  EXPECT_EQ(call(BPF_PROG_BIND_MAP, attributes), -EINVAL);
  attributes.prog_bind_map.flags = 0;
  attributes.prog_bind_map.map_fd = program.field();
  EXPECT_EQ(call(BPF_PROG_BIND_MAP, attributes), -EINVAL);
  attributes.prog_bind_map.prog_fd = 0x7fffffff;
  EXPECT_EQ(call(BPF_PROG_BIND_MAP, attributes), -EBADF);
  map.reset();
  EXPECT_GE(Fd(by_id(BPF_MAP_GET_FD_BY_ID, id)).get(), 0);
  bpf_prog_info out{};
  std::array<uint32_t, 4> ids{};
  out.map_ids = pointer(ids.data());
  out.nr_map_ids = 4;
  ASSERT_EQ(info(program, out), 0);
  EXPECT_EQ(out.nr_map_ids, 1U);
  EXPECT_EQ(ids[0], id);
}

}  // namespace
}  // namespace skep::test
