#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <cerrno>
#include <climits>

#include "bpf_fixture.hpp"

namespace skep::test {
namespace {

class Descriptors : public Contract {};
SKEP_CONTRACT(Descriptors);

TEST_P(Descriptors, AreDescriptors) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  EXPECT_EQ(fcntl(map.get(), F_GETFD), FD_CLOEXEC);
  std::array<char, 128> link{};
  ASSERT_GT(readlink(("/proc/self/fd/" + std::to_string(map.get())).c_str(), link.data(), link.size() - 1),
            0);
  EXPECT_NE(std::string(link.data()).find("bpf-map"), std::string::npos);
  const Fd program(load(BPF_PROG_TYPE_XDP, return_value(1)));
  link = {};
  ASSERT_GT(
      readlink(("/proc/self/fd/" + std::to_string(program.get())).c_str(), link.data(), link.size() - 1), 0);
  EXPECT_NE(std::string(link.data()).find("bpf-prog"), std::string::npos);
}

// bpftool takes an errno that is left over for an error of its own.
TEST_P(Descriptors, SuccessLeavesErrnoAlone) {
  errno = 0;
  for (int n = 0; n < 40; ++n) {
    bpf_attr attr{};
    attr.map_type = BPF_MAP_TYPE_ARRAY;
    attr.key_size = 4;
    attr.value_size = 8;
    attr.max_entries = 1;
    const Fd map(bpf_->call(BPF_MAP_CREATE, &attr, sizeof attr));
    ASSERT_GE(map.get(), 0);
    attr = {};
    ASSERT_EQ(bpf_->call(BPF_MAP_GET_NEXT_ID, &attr, sizeof attr), 0);
  }
  EXPECT_EQ(errno, 0);
}

TEST_P(Descriptors, DuplicatesAreTheSameMap) {
  Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 4, 4));
  const Fd copy(dup(map.get()));
  const uint32_t key = 1;
  uint32_t value = 9;
  EXPECT_EQ(update(map, &key, &value), 0);
  map.reset();
  value = 0;
  EXPECT_EQ(lookup(copy, &key, &value), 0);
  EXPECT_EQ(value, 9U);
  const Fd moved(fcntl(copy.get(), F_DUPFD_CLOEXEC, 100));
  EXPECT_EQ(lookup(moved, &key, &value), 0);
}

TEST_P(Descriptors, WrongOnes) {
  const uint32_t key = 0;
  uint32_t value = 0;
  const Fd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(lookup(file, &key, &value), -EINVAL);
  const Fd memory(memfd_create("bpf-map", MFD_CLOEXEC));
  EXPECT_EQ(lookup(memory, &key, &value), -EINVAL);
  const Fd program(load(BPF_PROG_TYPE_XDP, return_value(1)));
  EXPECT_EQ(lookup(program, &key, &value), -EINVAL);
  EXPECT_EQ(update(program, &key, &value), -EINVAL);
  EXPECT_EQ(erase(program, &key), -EINVAL);
  EXPECT_EQ(next_key(program, &key, &value), -EINVAL);
  EXPECT_EQ(freeze(program), -EINVAL);
  Fd closed(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  const int number = closed.get();
  closed.reset();
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(number);
  attributes.key = pointer(&key);
  attributes.value = pointer(&value);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_ELEM, attributes), -EBADF);
  attributes.map_fd = UINT32_MAX;
  EXPECT_EQ(call(BPF_MAP_LOOKUP_ELEM, attributes), -EBADF);
}

TEST_P(Descriptors, NumbersAreReused) {
  Fd first(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  const int number = first.get();
  const uint32_t id = map_id(first);
  first.reset();
  const Fd second(create_map(BPF_MAP_TYPE_HASH, 4, 4, 1));
  ASSERT_EQ(second.get(), number);
  EXPECT_NE(map_id(second), id);
  bpf_map_info out{};
  ASSERT_EQ(info(second, out), 0);
  EXPECT_EQ(out.type, BPF_MAP_TYPE_HASH);
}

class Ids : public Contract {
 protected:
  // The ids that GET_NEXT_ID goes through.
  std::vector<uint32_t> listed(int command) {
    std::vector<uint32_t> ids;
    bpf_attr attributes{};
    while (call(command, attributes) == 0) {
      ids.push_back(attributes.next_id);
      attributes.start_id = attributes.next_id;
    }
    return ids;
  }
  static bool contains(const std::vector<uint32_t>& ids, uint32_t id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }
};
SKEP_CONTRACT(Ids);

TEST_P(Ids, ComeAndGo) {
  Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  Fd program(load(BPF_PROG_TYPE_XDP, return_value(1)));
  const uint32_t of_map = map_id(map);
  const uint32_t of_program = program_id(program);
  EXPECT_TRUE(contains(listed(BPF_MAP_GET_NEXT_ID), of_map));
  EXPECT_TRUE(contains(listed(BPF_PROG_GET_NEXT_ID), of_program));
  Fd again(by_id(BPF_MAP_GET_FD_BY_ID, of_map));
  ASSERT_GE(again.get(), 0);
  EXPECT_EQ(map_id(again), of_map);
  map.reset();
  EXPECT_TRUE(contains(listed(BPF_MAP_GET_NEXT_ID), of_map));
  again.reset();
  program.reset();
  // The kernel lets go of maps in its own time.
  if (on_host()) return;
  EXPECT_FALSE(contains(listed(BPF_MAP_GET_NEXT_ID), of_map));
  EXPECT_FALSE(contains(listed(BPF_PROG_GET_NEXT_ID), of_program));
  EXPECT_EQ(by_id(BPF_MAP_GET_FD_BY_ID, of_map), -ENOENT);
  EXPECT_EQ(by_id(BPF_PROG_GET_FD_BY_ID, of_program), -ENOENT);
}

TEST_P(Ids, ProgramsKeepTheirMaps) {
  Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  const std::vector<bpf_insn> code{insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map.get()),
                                   insn(0, 0, 0, 0, 0), mov(0, 0), exit_insn()};
  Fd program(load(BPF_PROG_TYPE_SOCKET_FILTER, code));
  const uint32_t id = map_id(map);
  map.reset();
  EXPECT_GE(Fd(by_id(BPF_MAP_GET_FD_BY_ID, id)).get(), 0);
  program.reset();
  if (on_host()) return;
  EXPECT_EQ(by_id(BPF_MAP_GET_FD_BY_ID, id), -ENOENT);
}

TEST_P(Ids, Refusals) {
  bpf_attr attributes{};
  attributes.start_id = INT_MAX;
  EXPECT_EQ(call(BPF_MAP_GET_NEXT_ID, attributes), -EINVAL);
  attributes = {};
  attributes.open_flags = 1;
  EXPECT_EQ(call(BPF_MAP_GET_NEXT_ID, attributes), -EINVAL);
  for (const int command : {int{BPF_MAP_GET_FD_BY_ID}, int{BPF_PROG_GET_FD_BY_ID}, int{BPF_BTF_GET_FD_BY_ID},
                            int{BPF_LINK_GET_FD_BY_ID}}) {
    EXPECT_EQ(by_id(command, 0), -ENOENT);
    EXPECT_EQ(by_id(command, INT_MAX - 5), -ENOENT);
  }
  attributes = {};
  attributes.map_id = 1;
  attributes.open_flags = BPF_F_NO_PREALLOC;
  EXPECT_EQ(call(BPF_MAP_GET_FD_BY_ID, attributes), -EINVAL);
}

class Pins : public Contract {
 protected:
  static bool has_bpf_file_system() {
    struct statfs status{};
    return statfs("/sys/fs/bpf", &status) == 0 && status.f_type == BPF_FS_MAGIC;
  }
  void TearDown() override {
    for (const std::string& path : made_) bpf_->unpin(path);
  }
  std::string path(const std::string& name) {
    made_.push_back(bpf_->pin_path(name));
    return made_.back();
  }
  long pin(const Fd& object, const std::string& to) {
    bpf_attr attributes{};
    attributes.bpf_fd = object.field();
    attributes.pathname = pointer(to.c_str());
    return call(BPF_OBJ_PIN, attributes);
  }
  long get(const std::string& from, uint32_t flags = 0) {
    bpf_attr attributes{};
    attributes.pathname = pointer(from.c_str());
    attributes.file_flags = flags;
    return call(BPF_OBJ_GET, attributes);
  }

 private:
  std::vector<std::string> made_;
};
SKEP_CONTRACT(Pins);

TEST_P(Pins, KeepObjects) {
  if (on_host() && !has_bpf_file_system()) GTEST_SKIP() << "no bpf file system is mounted at /sys/fs/bpf";
  const std::string name = path("m");
  Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 4, 4));
  const uint32_t id = map_id(map);
  const uint32_t key = 3;
  uint32_t value = 4;
  ASSERT_EQ(update(map, &key, &value), 0);
  ASSERT_EQ(pin(map, name), 0);
  EXPECT_EQ(pin(map, name), -EEXIST);
  map.reset();
  Fd again(get(name));
  ASSERT_GE(again.get(), 0);
  EXPECT_EQ(map_id(again), id);
  EXPECT_EQ(lookup(again, &key, &value), 0);
  const Fd read_only(get(name, BPF_F_RDONLY));
  EXPECT_EQ(update(read_only, &key, &value), -EPERM);
  const Fd program(load(BPF_PROG_TYPE_XDP, return_value(1)));
  const std::string other = path("p");
  ASSERT_EQ(pin(program, other), 0);
  const Fd program_again(get(other));
  EXPECT_EQ(program_id(program_again), program_id(program));
  EXPECT_TRUE(bpf_->unpin(name));
  EXPECT_FALSE(bpf_->unpin(name));
  EXPECT_EQ(get(name), -ENOENT);
}

TEST_P(Pins, Refusals) {
  if (on_host() && !has_bpf_file_system()) GTEST_SKIP() << "no bpf file system is mounted at /sys/fs/bpf";
  const Fd map(create_map(BPF_MAP_TYPE_HASH, 4, 4, 4));
  EXPECT_EQ(get(path("none")), -ENOENT);
  EXPECT_EQ(get(""), -ENOENT);
  EXPECT_EQ(pin(map, path("a.b")), -EPERM);
  EXPECT_EQ(pin(Fd(), path("m")), -EINVAL);
  const Fd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(pin(file, path("m")), -EINVAL);
  bpf_attr attributes{};
  attributes.bpf_fd = map.field();
  attributes.pathname = kNowhere;
  EXPECT_EQ(call(BPF_OBJ_PIN, attributes), -EFAULT);
  const std::string name = path("m");
  attributes.pathname = pointer(name.c_str());
  attributes.file_flags = BPF_F_RDONLY;
  EXPECT_EQ(call(BPF_OBJ_PIN, attributes), -EINVAL);
  EXPECT_EQ(call(BPF_OBJ_GET, attributes), -EINVAL);
  EXPECT_EQ(get(name, BPF_F_RDONLY | BPF_F_WRONLY), -EINVAL);
  EXPECT_EQ(get(name, BPF_F_NO_PREALLOC), -EINVAL);
  const std::string too_long(PATH_MAX + 10, 'a');
  EXPECT_EQ(get(too_long), -ENAMETOOLONG);
}

class Links : public Contract {
 protected:
  long link(const Fd& program, uint32_t attach_type, int target) {
    bpf_attr attributes{};
    attributes.link_create.prog_fd = program.field();
    attributes.link_create.target_fd = static_cast<uint32_t>(target);
    attributes.link_create.attach_type = attach_type;
    return call(BPF_LINK_CREATE, attributes);
  }
};
SKEP_CONTRACT(Links);

// libbpf asks in this way whether perf links are known.
TEST_P(Links, PerfEvents) {
  const Fd program(load(BPF_PROG_TYPE_TRACEPOINT, return_value(0)));
  ASSERT_GE(program.get(), 0);
  EXPECT_EQ(link(program, BPF_PERF_EVENT, -1), -EBADF);
  EXPECT_EQ(link(program, BPF_XDP, 1), -EINVAL);
  EXPECT_EQ(link(Fd(), BPF_PERF_EVENT, -1), -EBADF);
}

TEST_P(Links, Refusals) {
  const Fd program(load(BPF_PROG_TYPE_XDP, return_value(2)));
  EXPECT_EQ(link(program, BPF_XDP, 0x7ffffff), -EINVAL);
  EXPECT_EQ(link(program, BPF_CGROUP_DEVICE, 1), -EINVAL);
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  bpf_attr attributes{};
  attributes.link_update.link_fd = map.field();
  EXPECT_EQ(call(BPF_LINK_UPDATE, attributes), -EINVAL);
  attributes.link_update.flags = 1;
  EXPECT_EQ(call(BPF_LINK_UPDATE, attributes), -EINVAL);
  attributes = {};
  attributes.link_detach.link_fd = 0x7fffffff;
  EXPECT_EQ(call(BPF_LINK_DETACH, attributes), -EBADF);
  attributes = {};
  attributes.raw_tracepoint.prog_fd = program.field();
  attributes.raw_tracepoint.name = pointer("sys_enter");
  EXPECT_EQ(call(BPF_RAW_TRACEPOINT_OPEN, attributes), -EINVAL);
  const Fd raw(load(BPF_PROG_TYPE_RAW_TRACEPOINT, return_value(0)));
  attributes.raw_tracepoint.prog_fd = raw.field();
  attributes.raw_tracepoint.name = pointer("no_such_tracepoint");
  EXPECT_EQ(call(BPF_RAW_TRACEPOINT_OPEN, attributes), -ENOENT);
  attributes.raw_tracepoint.name = kNowhere;
  EXPECT_EQ(call(BPF_RAW_TRACEPOINT_OPEN, attributes), -EFAULT);
}

TEST_P(Links, AttachAndQuery) {
  const Fd program(load(BPF_PROG_TYPE_XDP, return_value(2)));
  bpf_attr attributes{};
  attributes.attach_bpf_fd = program.field();
  attributes.attach_type = 9999;
  EXPECT_EQ(call(BPF_PROG_ATTACH, attributes), -EINVAL);
  EXPECT_EQ(call(BPF_PROG_DETACH, attributes), -EINVAL);
  attributes.attach_type = BPF_CGROUP_DEVICE;
  EXPECT_EQ(call(BPF_PROG_ATTACH, attributes), -EINVAL);
  attributes.attach_type = BPF_XDP;
  EXPECT_EQ(call(BPF_PROG_ATTACH, attributes), -EINVAL);
  attributes = {};
  attributes.query.attach_type = 9999;
  EXPECT_EQ(call(BPF_PROG_QUERY, attributes), -EINVAL);
  attributes.query.attach_type = BPF_CGROUP_DEVICE;
  attributes.query.target_fd = 0x7fffffff;
  EXPECT_EQ(call(BPF_PROG_QUERY, attributes), -EBADF);
  attributes.query.query_flags = 8;
  EXPECT_EQ(call(BPF_PROG_QUERY, attributes), -EINVAL);
}

// On the machine alone: the host's loopback device is nobody's to attach to.
TEST(MachineLinks, Xdp) {
  const auto machine = make_machine(1);
  const auto bpf = machine_bpf(*machine);
  const auto call = [&](int command, bpf_attr& attributes) {
    return bpf->call(command, &attributes, sizeof attributes);
  };
  const auto load = [&](int32_t value) {
    const auto code = return_value(value);
    bpf_attr attributes{};
    attributes.prog_type = BPF_PROG_TYPE_XDP;
    attributes.insns = pointer(code.data());
    attributes.insn_cnt = 2;
    attributes.license = pointer("GPL");
    return Fd(call(BPF_PROG_LOAD, attributes));
  };
  const Fd first = load(1);
  const Fd second = load(2);
  bpf_attr attributes{};
  attributes.link_create.prog_fd = first.field();
  attributes.link_create.target_ifindex = 1;
  attributes.link_create.attach_type = BPF_XDP;
  bpf_attr create = attributes;
  Fd link(call(BPF_LINK_CREATE, create));
  ASSERT_GE(link.get(), 0);
  EXPECT_EQ(call(BPF_LINK_CREATE, create), -EBUSY);

  const auto info = [&] {
    bpf_link_info out{};
    bpf_attr query{};
    query.info.bpf_fd = link.field();
    query.info.info = pointer(&out);
    query.info.info_len = sizeof out;
    EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, query), 0);
    return out;
  };
  EXPECT_EQ(info().type, BPF_LINK_TYPE_XDP);
  EXPECT_EQ(info().xdp.ifindex, 1U);
  const uint32_t before = info().prog_id;
  bpf_attr update{};
  update.link_update.link_fd = link.field();
  update.link_update.new_prog_fd = second.field();
  update.link_update.flags = BPF_F_REPLACE;
  update.link_update.old_prog_fd = second.field();
  EXPECT_EQ(call(BPF_LINK_UPDATE, update), -EPERM);
  update.link_update.old_prog_fd = first.field();
  EXPECT_EQ(call(BPF_LINK_UPDATE, update), 0);
  EXPECT_NE(info().prog_id, before);

  bpf_attr next{};
  EXPECT_EQ(call(BPF_LINK_GET_NEXT_ID, next), 0);
  EXPECT_EQ(next.next_id, info().id);
  bpf_attr detach{};
  detach.link_detach.link_fd = link.field();
  EXPECT_EQ(call(BPF_LINK_DETACH, detach), 0);
  EXPECT_EQ(info().xdp.ifindex, 0U);
  EXPECT_EQ(call(BPF_LINK_UPDATE, update), -ENOLINK);
  link.reset();
  next = {};
  EXPECT_EQ(call(BPF_LINK_GET_NEXT_ID, next), -ENOENT);
  Fd again(call(BPF_LINK_CREATE, create));
  EXPECT_GE(again.get(), 0);
}

// Programs that call each other through an array would keep each other for ever.
TEST(MachineObjects, ArraysOfProgramsAreEmptiedWithTheirLastDescriptor) {
  const auto machine = make_machine(1);
  const auto bpf = machine_bpf(*machine);
  const auto call = [&](int command, bpf_attr& attributes) {
    return bpf->call(command, &attributes, sizeof attributes);
  };
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_PROG_ARRAY;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 4;
  Fd array(call(BPF_MAP_CREATE, attributes));
  const std::vector<bpf_insn> code{insn(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, array.get()),
                                   insn(0, 0, 0, 0, 0),
                                   mov(3, 0),
                                   call_helper(BPF_FUNC_tail_call),
                                   mov(0, 1),
                                   exit_insn()};
  attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_XDP;
  attributes.insns = pointer(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = pointer("GPL");
  Fd program(call(BPF_PROG_LOAD, attributes));
  ASSERT_GE(program.get(), 0);
  const uint32_t key = 0;
  const uint32_t descriptor = program.field();
  attributes = {};
  attributes.map_fd = array.field();
  attributes.key = pointer(&key);
  attributes.value = pointer(&descriptor);
  ASSERT_EQ(call(BPF_MAP_UPDATE_ELEM, attributes), 0);
  program.reset();
  attributes = {};
  EXPECT_EQ(call(BPF_PROG_GET_NEXT_ID, attributes), 0);
  array.reset();
  // The array is emptied by one look, and what it held is gone when its epoch is over.
  for (int i = 0; i < 8; ++i) {
    attributes = {};
    call(BPF_MAP_GET_NEXT_ID, attributes);
  }
  attributes = {};
  EXPECT_EQ(call(BPF_PROG_GET_NEXT_ID, attributes), -ENOENT);
  attributes = {};
  EXPECT_EQ(call(BPF_MAP_GET_NEXT_ID, attributes), -ENOENT);
}

TEST(MachineObjects, ManyDescriptorsComeAndGo) {
  const auto machine = make_machine(1);
  const auto bpf = machine_bpf(*machine);
  uint32_t last = 0;
  for (int i = 0; i < 1000; ++i) {
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_ARRAY;
    attributes.key_size = 4;
    attributes.value_size = 4;
    attributes.max_entries = 1;
    attributes.map_flags = i % 2 == 0 ? uint32_t{BPF_F_MMAPABLE} : 0;
    const Fd map(bpf->call(BPF_MAP_CREATE, &attributes, sizeof attributes));
    ASSERT_GE(map.get(), 0) << i;
    // Closed maps, with the descriptors of their memory, do not pile up.
    EXPECT_LT(map.get(), 200) << i;
    last = map.field();
  }
  EXPECT_NE(last, 0U);
}

}  // namespace
}  // namespace skep::test
