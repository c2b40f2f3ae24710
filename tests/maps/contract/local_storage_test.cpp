// SK_STORAGE, TASK_STORAGE, INODE_STORAGE and CGRP_STORAGE.

#include <fcntl.h>
#include <linux/pkt_cls.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "maps/local_storage.hpp"
#include "program_fixture.hpp"
#include "tests/syscall/btf_bytes.hpp"

namespace skep::test {
namespace {

constexpr uint32_t kCgroupStorage = maps::kCgroupStorage;
constexpr std::array<uint32_t, 4> kStorageTypes{BPF_MAP_TYPE_SK_STORAGE, BPF_MAP_TYPE_TASK_STORAGE,
                                                BPF_MAP_TYPE_INODE_STORAGE, kCgroupStorage};

Fd open_pidfd(pid_t task) { return Fd(syscall(SYS_pidfd_open, task, 0)); }

// The directory of a cgroup of version 2, if there is one.
Fd open_cgroup() {
  std::ifstream mounts("/proc/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, path, type;
    fields >> device >> path >> type;
    if (type == "cgroup2") return Fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  return {};
}

class LocalStorage : public ProgramContract {
 protected:
  struct Request {
    uint32_t type;
    uint32_t value_size = 8;
    uint32_t flags = BPF_F_NO_PREALLOC;
    uint32_t key_size = 4;
    uint32_t max_entries = 0;
    bool key_type = true;
    bool value_type = true;
    bool struct_key = false;
    bool lock = false;
  };
  long create(const Request& request) {
    BtfBytes bytes;
    const uint32_t integer = bytes.integer("unsigned int", 4);
    const uint32_t byte = bytes.integer("char", 1);
    uint32_t key = integer;
    if (request.struct_key)
      key = bytes.type(bytes.string("key"), BTF_KIND_STRUCT, 1, 4, {bytes.string("x"), integer, 0});
    uint32_t value = bytes.type(0, BTF_KIND_ARRAY, 0, 0, {byte, integer, request.value_size});
    if (request.lock) {
      const uint32_t lock =
          bytes.type(bytes.string("bpf_spin_lock"), BTF_KIND_STRUCT, 1, 4, {bytes.string("val"), integer, 0});
      value = bytes.type(bytes.string("value"), BTF_KIND_STRUCT, 2, 8,
                         {bytes.string("number"), integer, 0, bytes.string("lock"), lock, 32});
    }
    const auto raw = bytes.bytes();
    bpf_attr attributes{};
    attributes.btf = pointer(raw.data());
    attributes.btf_size = static_cast<uint32_t>(raw.size());
    const long loaded = call(BPF_BTF_LOAD, attributes);
    if (loaded < 0) return loaded;
    const Fd btf(loaded);
    attributes = {};
    attributes.map_type = request.type;
    attributes.key_size = request.key_size;
    attributes.value_size = request.value_size;
    attributes.max_entries = request.max_entries;
    attributes.map_flags = request.flags;
    attributes.btf_fd = btf.field();
    if (request.key_type) attributes.btf_key_type_id = key;
    if (request.value_type) attributes.btf_value_type_id = value;
    return create_map(attributes);
  }
  long made(const Request& request) {
    const long result = create(request);
    if (result >= 0) Fd(result).reset();
    return result < 0 ? result : 0;
  }

  // An owner of the type's kind; -1: there is none here.
  static Fd owner(uint32_t type) {
    switch (type) {
      case BPF_MAP_TYPE_SK_STORAGE:
        return Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      case BPF_MAP_TYPE_TASK_STORAGE:
        return open_pidfd(getpid());
      case BPF_MAP_TYPE_INODE_STORAGE:
        return Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
      default:
        return open_cgroup();
    }
  }
  // For each type that there is an owner for: test(type, map, owner).
  template <class Test>
  void each(const Test& test) {
    for (const uint32_t type : kStorageTypes) {
      const Fd of = owner(type);
      if (of.get() < 0) continue;
      const Fd map(create({.type = type}));
      ASSERT_GE(map.get(), 0) << type;
      test(type, map, of);
    }
  }
  long put(const Fd& map, const Fd& of, uint64_t value, uint64_t flags = BPF_ANY) {
    const int key = of.get();
    return update(map, &key, &value, flags);
  }
  std::optional<uint64_t> value_of(const Fd& map, const Fd& of) {
    const int key = of.get();
    uint64_t value = 0;
    const long result = lookup(map, &key, &value);
    EXPECT_TRUE(result == 0 || result == -ENOENT) << result;
    return result == 0 ? std::optional(value) : std::nullopt;
  }
  long remove(const Fd& map, const Fd& of) {
    const int key = of.get();
    return erase(map, &key);
  }

  // TEST_RUN on a packet; what the program returned, or the error.
  long run_on(const Fd& program, std::span<const uint8_t> packet, uint32_t repeat = 1) {
    bpf_attr attributes{};
    attributes.test.prog_fd = program.field();
    attributes.test.data_in = pointer(packet.data());
    attributes.test.data_size_in = static_cast<uint32_t>(packet.size());
    attributes.test.repeat = repeat;
    const long result = call(BPF_PROG_TEST_RUN, attributes);
    return result == 0 ? static_cast<int32_t>(attributes.test.retval) : result;
  }
};
SKEP_CONTRACT(LocalStorage);

TEST_P(LocalStorage, Attributes) {
  for (const uint32_t type : kStorageTypes) {
    EXPECT_EQ(made({.type = type}), 0) << type;
    EXPECT_EQ(made({.type = type, .flags = BPF_F_NO_PREALLOC | BPF_F_CLONE}), 0) << type;
    EXPECT_EQ(made({.type = type, .flags = 0}), -EINVAL) << type;
    EXPECT_EQ(made({.type = type, .flags = BPF_F_CLONE}), -EINVAL) << type;
    for (const uint32_t flag :
         {BPF_F_NUMA_NODE, BPF_F_RDONLY, BPF_F_WRONLY, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, BPF_F_ZERO_SEED,
          BPF_F_MMAPABLE, BPF_F_INNER_MAP, BPF_F_NO_COMMON_LRU})
      EXPECT_EQ(made({.type = type, .flags = BPF_F_NO_PREALLOC | flag}), -EINVAL) << type << " " << flag;
    EXPECT_EQ(made({.type = type, .key_size = 8}), -EINVAL) << type;
    EXPECT_EQ(made({.type = type, .key_size = 0}), -EINVAL) << type;
    EXPECT_EQ(made({.type = type, .max_entries = 1}), -EINVAL) << type;
    EXPECT_EQ(made({.type = type, .value_size = 0}), -EINVAL) << type;
    EXPECT_EQ(made({.type = type, .key_type = false}), -EINVAL) << type;
    EXPECT_EQ(made({.type = type, .key_type = false, .value_type = false}), -EINVAL) << type;
    EXPECT_EQ(made({.type = type, .struct_key = true}), -EINVAL) << "of 4 bytes, but no integer";
  }
}

TEST_P(LocalStorage, TheLargestValue) {
  for (const uint32_t type : kStorageTypes) {
    EXPECT_EQ(made({.type = type, .value_size = 65407}), 0) << type;
    EXPECT_EQ(made({.type = type, .value_size = 65408}), -E2BIG) << type;
    EXPECT_EQ(made({.type = type, .value_size = 65408, .key_type = false, .value_type = false}), -EINVAL);
  }
}

TEST_P(LocalStorage, UpdateLookupDelete) {
  each([&](uint32_t type, const Fd& map, const Fd& of) {
    SCOPED_TRACE(type);
    EXPECT_EQ(value_of(map, of), std::nullopt);
    EXPECT_EQ(remove(map, of), -ENOENT);
    EXPECT_EQ(put(map, of, 1, BPF_EXIST), -ENOENT);
    EXPECT_EQ(put(map, of, 1, BPF_NOEXIST), 0);
    EXPECT_EQ(put(map, of, 2, BPF_NOEXIST), -EEXIST);
    EXPECT_EQ(value_of(map, of), 1U);
    EXPECT_EQ(put(map, of, 3, BPF_EXIST), 0);
    EXPECT_EQ(value_of(map, of), 3U);
    EXPECT_EQ(put(map, of, 4), 0);
    EXPECT_EQ(value_of(map, of), 4U);
    EXPECT_EQ(put(map, of, 5, 3), -EINVAL);
    EXPECT_EQ(put(map, of, 5, 8), -EINVAL);
    EXPECT_EQ(put(map, of, 5, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(value_of(map, of), 4U);
    EXPECT_EQ(remove(map, of), 0);
    EXPECT_EQ(value_of(map, of), std::nullopt);
    EXPECT_EQ(put(map, of, 6), 0);
    EXPECT_EQ(value_of(map, of), 6U);
  });
}

TEST_P(LocalStorage, OneElementPerOwnerWhateverItsDescriptor) {
  each([&](uint32_t type, const Fd& map, const Fd& of) {
    SCOPED_TRACE(type);
    const Fd same(dup(of.get()));
    ASSERT_EQ(put(map, of, 7), 0);
    EXPECT_EQ(value_of(map, same), 7U);
    EXPECT_EQ(put(map, same, 8, BPF_NOEXIST), -EEXIST);
    EXPECT_EQ(remove(map, same), 0);
    EXPECT_EQ(value_of(map, of), std::nullopt);
  });
}

TEST_P(LocalStorage, EachMapHasItsOwn) {
  each([&](uint32_t type, const Fd& map, const Fd& of) {
    SCOPED_TRACE(type);
    const Fd other(create({.type = type}));
    ASSERT_EQ(put(map, of, 7), 0);
    EXPECT_EQ(value_of(other, of), std::nullopt);
    ASSERT_EQ(put(other, of, 8), 0);
    EXPECT_EQ(value_of(map, of), 7U);
    EXPECT_EQ(value_of(other, of), 8U);
  });
}

TEST_P(LocalStorage, WhatTheyDoNotHave) {
  each([&](uint32_t type, const Fd& map, const Fd& of) {
    SCOPED_TRACE(type);
    ASSERT_EQ(put(map, of, 7), 0);
    int key = of.get();
    uint64_t value = 0;
    EXPECT_EQ(next_key(map, nullptr, &key), -kNotSupported);
    EXPECT_EQ(next_key(map, &key, &key), -kNotSupported);
    EXPECT_EQ(lookup_and_delete(map, &key, &value), -kNotSupported);
    EXPECT_EQ(lookup_and_delete(map, &key, &value, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(lookup(map, &key, &value, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(lookup(map, &key, &value, 1), -EINVAL);
    for (const int command :
         {BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH})
      EXPECT_EQ(batch(command, map), -kNotSupported) << command;
    EXPECT_EQ(value_of(map, of), 7U);
    EXPECT_EQ(freeze(map), 0);
    EXPECT_EQ(put(map, of, 8), -EPERM);
    EXPECT_EQ(remove(map, of), -EPERM);
    EXPECT_EQ(value_of(map, of), 7U);
  });
}

TEST_P(LocalStorage, Info) {
  each([&](uint32_t type, const Fd& map, const Fd&) {
    bpf_map_info out{};
    ASSERT_EQ(info(map, out), 0);
    EXPECT_EQ(out.type, type);
    EXPECT_EQ(out.key_size, 4U);
    EXPECT_EQ(out.value_size, 8U);
    EXPECT_EQ(out.max_entries, 0U);
    EXPECT_EQ(out.map_flags, uint32_t{BPF_F_NO_PREALLOC});
    EXPECT_NE(out.btf_key_type_id, 0U);
  });
}

TEST_P(LocalStorage, DescriptorsOfNoOwner) {
  const Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Fd path(open("/tmp", O_PATH | O_CLOEXEC));
  const Fd socket_of(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Fd pidfd = open_pidfd(getpid());
  constexpr int kClosed = 9999;
  struct Row {
    uint32_t type;
    int descriptor;
    long error;
  };
  const Row rows[] = {
      {BPF_MAP_TYPE_SK_STORAGE, kClosed, -EBADF},
      {BPF_MAP_TYPE_SK_STORAGE, -1, -EBADF},
      {BPF_MAP_TYPE_SK_STORAGE, file.get(), -ENOTSOCK},
      {BPF_MAP_TYPE_SK_STORAGE, pidfd.get(), -ENOTSOCK},
      {BPF_MAP_TYPE_SK_STORAGE, path.get(), -EBADF},
      {BPF_MAP_TYPE_TASK_STORAGE, kClosed, -EBADF},
      {BPF_MAP_TYPE_TASK_STORAGE, -1, -EBADF},
      {BPF_MAP_TYPE_TASK_STORAGE, file.get(), -EBADF},
      {BPF_MAP_TYPE_TASK_STORAGE, socket_of.get(), -EBADF},
      {BPF_MAP_TYPE_INODE_STORAGE, kClosed, -EBADF},
      {BPF_MAP_TYPE_INODE_STORAGE, -1, -EBADF},
      {kCgroupStorage, kClosed, -EBADF},
      {kCgroupStorage, -1, -EBADF},
      {kCgroupStorage, file.get(), -EBADF},
      {kCgroupStorage, path.get(), -EBADF},
  };
  std::map<uint32_t, Fd> maps;
  for (const uint32_t type : kStorageTypes) maps[type] = Fd(create({.type = type}));
  for (const Row& row : rows) {
    const Fd& map = maps[row.type];
    uint64_t value = 0;
    EXPECT_EQ(lookup(map, &row.descriptor, &value), row.error) << row.type << " " << row.descriptor;
    EXPECT_EQ(update(map, &row.descriptor, &value), row.error) << row.type << " " << row.descriptor;
    EXPECT_EQ(erase(map, &row.descriptor), row.error) << row.type << " " << row.descriptor;
  }
}

TEST_P(LocalStorage, AnyOpenFileIsAnInode) {
  const Fd map(create({.type = BPF_MAP_TYPE_INODE_STORAGE}));
  const Fd path(open("/tmp", O_PATH | O_CLOEXEC));
  const Fd directory(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(put(map, path, 1), 0);
  EXPECT_EQ(value_of(map, directory), 1U);
  EXPECT_EQ(value_of(map, file), std::nullopt);
}

TEST_P(LocalStorage, ASocketsGoesWithTheSocket) {
  const Fd map(create({.type = BPF_MAP_TYPE_SK_STORAGE}));
  Fd one(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int number = one.get();
  ASSERT_EQ(put(map, one, 1), 0);
  one.reset();
  uint64_t value = 0;
  EXPECT_EQ(lookup(map, &number, &value), -EBADF);
  const Fd two(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(two.get(), number);
  EXPECT_EQ(value_of(map, two), std::nullopt);
  EXPECT_EQ(put(map, two, 2, BPF_NOEXIST), 0);
}

TEST_P(LocalStorage, SocketsOfEveryFamily) {
  const Fd map(create({.type = BPF_MAP_TYPE_SK_STORAGE}));
  int pair[2] = {-1, -1};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const Fd one(pair[0]);
  const Fd two(pair[1]);
  const Fd stream(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Fd netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
  uint64_t value = 0;
  for (const Fd* of : {&one, &two, &stream, &netlink}) {
    if (of->get() < 0) continue;
    EXPECT_EQ(put(map, *of, ++value, BPF_NOEXIST), 0);
  }
  EXPECT_EQ(value_of(map, one), 1U);
  EXPECT_EQ(value_of(map, two), 2U);
}

TEST_P(LocalStorage, ATasksGoesWithTheTask) {
  const Fd map(create({.type = BPF_MAP_TYPE_TASK_STORAGE}));
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const Fd pidfd = open_pidfd(child);
  ASSERT_EQ(put(map, pidfd, 1), 0);
  EXPECT_EQ(value_of(map, pidfd), 1U);
  kill(child, SIGKILL);
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(value_of(map, pidfd), 1U) << "nobody has waited for it yet";
  waitpid(child, nullptr, 0);
  uint64_t value = 0;
  const int key = pidfd.get();
  EXPECT_EQ(lookup(map, &key, &value), -ENOENT);
  EXPECT_EQ(update(map, &key, &value), -ENOENT);
  EXPECT_EQ(erase(map, &key), -ENOENT);
}

TEST_P(LocalStorage, Locks) {
  for (const uint32_t type : kStorageTypes) {
    SCOPED_TRACE(type);
    const Fd of = owner(type);
    if (of.get() < 0) continue;
    const Fd map(create({.type = type, .lock = true}));
    ASSERT_GE(map.get(), 0);
    const int key = of.get();
    std::array<uint32_t, 2> value{7, 0xdead};
    EXPECT_EQ(update(map, &key, value.data(), BPF_F_LOCK | BPF_EXIST), -ENOENT);
    EXPECT_EQ(update(map, &key, value.data(), BPF_F_LOCK | BPF_NOEXIST), 0);
    EXPECT_EQ(update(map, &key, value.data(), BPF_F_LOCK | BPF_NOEXIST), -EEXIST);
    value = {8, 0xdead};
    EXPECT_EQ(update(map, &key, value.data(), BPF_F_LOCK), 0);
    EXPECT_EQ(update(map, &key, value.data(), BPF_F_LOCK | 8), -EINVAL);
    value = {1, 1};
    EXPECT_EQ(lookup(map, &key, value.data(), BPF_F_LOCK), 0);
    EXPECT_EQ(value, (std::array<uint32_t, 2>{8, 0}));
    EXPECT_EQ(update(map, &key, value.data()), 0);
    EXPECT_EQ(lookup_and_delete(map, &key, value.data(), BPF_F_LOCK), -kNotSupported);
    EXPECT_EQ(freeze(map), -kNotSupported);
  }
}

TEST_P(LocalStorage, HelpersThatTakeElementsByKeyDoNotTakeThem) {
  for (const uint32_t type : kStorageTypes) {
    const Fd map(create({.type = type}));
    for (const int helper : {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_delete_elem}) {
      const auto program = code({store(-8, 0),
                                 load_map(1, map),
                                 stack_address(2, -8),
                                 {call_helper(helper), mov(0, 0), exit_insn()}});
      EXPECT_EQ(run(program), -EINVAL) << type << " " << helper;
    }
    const auto update_program =
        code({store(-8, 0),
              load_map(1, map),
              stack_address(2, -8),
              stack_address(3, -8),
              {mov(4, 0), call_helper(BPF_FUNC_map_update_elem), mov(0, 0), exit_insn()}});
    EXPECT_EQ(run(update_program), -EINVAL) << type;
  }
}

// --- Programs and tasks

class TaskStorage : public LocalStorage {
 protected:
  void SetUp() override {
    LocalStorage::SetUp();
    if (IsSkipped()) return;
    map_ = Fd(create({.type = BPF_MAP_TYPE_TASK_STORAGE}));
    ASSERT_GE(map_.get(), 0);
    // Kernels before 6.16 offer these helpers to tracing programs alone.
    if (on_host() && run(get({mov(3, 0)}, 0)) == -EINVAL) GTEST_SKIP() << "not offered to these programs";
  }
  // r0 = bpf_task_storage_get(map, the current task, …, flags), with r3 set by `initial`; -1 for NULL, else
  // the value's first 8 bytes plus 1, which are left there.
  std::vector<bpf_insn> get(const std::vector<bpf_insn>& initial, int32_t flags, int32_t stored = 0) {
    return code(
        {store(-8, stored),
         {call_helper(BPF_FUNC_get_current_task_btf), insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 0, 0, 0)},
         load_map(1, map_),
         initial,
         {mov(4, flags), call_helper(BPF_FUNC_task_storage_get), insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0),
          mov(0, -1), exit_insn(), insn(BPF_LDX | BPF_MEM | BPF_DW, 1, 0, 0, 0),
          insn(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1), insn(BPF_STX | BPF_MEM | BPF_DW, 0, 1, 0, 0),
          insn(BPF_ALU64 | BPF_MOV | BPF_X, 0, 1, 0, 0), exit_insn()}});
  }
  // The same of another task: r2 set by `task`.
  std::vector<bpf_insn> remove_of(const std::vector<bpf_insn>& task) {
    return code({task, load_map(1, map_), {call_helper(BPF_FUNC_task_storage_delete), exit_insn()}});
  }
  static std::vector<bpf_insn> current() {
    return {call_helper(BPF_FUNC_get_current_task_btf), insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 0, 0, 0)};
  }

  Fd map_;
};
SKEP_CONTRACT(TaskStorage);

TEST_P(TaskStorage, TheCurrentTaskIsTheOneThatRunsTheProgram) {
  const Fd self = open_pidfd(getpid());
  EXPECT_EQ(run(get({mov(3, 0)}, 0)), -1) << "there is none, and none is made";
  EXPECT_EQ(run(get({mov(3, 0)}, BPF_LOCAL_STORAGE_GET_F_CREATE)), 1);
  EXPECT_EQ(run(get({mov(3, 0)}, BPF_LOCAL_STORAGE_GET_F_CREATE)), 2);
  EXPECT_EQ(run(get({mov(3, 0)}, 0)), 3);
  EXPECT_EQ(value_of(map_, self), 3U);
  EXPECT_EQ(put(map_, self, 10), 0);
  EXPECT_EQ(run(get({mov(3, 0)}, 0)), 11);
  EXPECT_EQ(remove(map_, self), 0);
  EXPECT_EQ(run(get({mov(3, 0)}, 0)), -1);
}

TEST_P(TaskStorage, ANewValueIsWhatTheProgramGives) {
  EXPECT_EQ(run(get(stack_address(3, -8), BPF_LOCAL_STORAGE_GET_F_CREATE, 41)), 42);
  EXPECT_EQ(run(get(stack_address(3, -8), BPF_LOCAL_STORAGE_GET_F_CREATE, 7)), 43) << "it was there";
}

TEST_P(TaskStorage, UnknownFlagsFindNothing) {
  ASSERT_EQ(run(get({mov(3, 0)}, BPF_LOCAL_STORAGE_GET_F_CREATE)), 1);
  EXPECT_EQ(run(get({mov(3, 0)}, 2)), -1);
  EXPECT_EQ(run(get({mov(3, 0)}, 3)), -1);
}

TEST_P(TaskStorage, Delete) {
  EXPECT_EQ(run(remove_of(current())), -ENOENT);
  ASSERT_EQ(run(get({mov(3, 0)}, BPF_LOCAL_STORAGE_GET_F_CREATE)), 1);
  EXPECT_EQ(run(remove_of(current())), 0);
  EXPECT_EQ(run(remove_of(current())), -ENOENT);
  EXPECT_EQ(run(remove_of({mov(2, 0)})), -EINVAL) << "no task";
  EXPECT_EQ(run(get({mov(3, 0)}, BPF_LOCAL_STORAGE_GET_F_CREATE)), 1);
}

TEST_P(TaskStorage, NoTaskHasNone) {
  const auto program = code({{mov(2, 0)},
                             load_map(1, map_),
                             {mov(3, 0), mov(4, 1), call_helper(BPF_FUNC_task_storage_get),
                              insn(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0), mov(0, 1), exit_insn()}});
  EXPECT_EQ(run(program), 0);
}

TEST_P(TaskStorage, OnlyMapsOfItsTypeAreTaken) {
  const Fd other(create({.type = BPF_MAP_TYPE_SK_STORAGE}));
  const auto program =
      code({current(),
            load_map(1, other),
            {mov(3, 0), mov(4, 0), call_helper(BPF_FUNC_task_storage_get), mov(0, 0), exit_insn()}});
  EXPECT_EQ(run(program), -EINVAL);
}

// --- Programs and sockets

class SocketStorage : public LocalStorage {
 protected:
  void SetUp() override {
    LocalStorage::SetUp();
    if (IsSkipped()) return;
    map_ = Fd(create({.type = BPF_MAP_TYPE_SK_STORAGE}));
    ASSERT_GE(map_.get(), 0);
  }
  static std::vector<uint8_t> ipv4_packet() {
    std::vector<uint8_t> packet(64);
    packet[12] = 0x08;
    packet[14] = 0x45;
    for (uint8_t n = 0; n < 8; ++n) packet[26U + n] = static_cast<uint8_t>(10 + n);
    return packet;
  }
  static std::vector<uint8_t> ipv6_packet() {
    std::vector<uint8_t> packet(64);
    packet[12] = 0x86;
    packet[13] = 0xdd;
    packet[14] = 0x60;
    for (uint8_t n = 0; n < 32; ++n) packet[22U + n] = static_cast<uint8_t>(0x40 + n);
    return packet;
  }
  // r6: the packet's socket, a full one; the program returns -2 where there is none.
  static std::vector<bpf_insn> full_socket() {
    return {insn(BPF_LDX | BPF_MEM | BPF_DW, 1, 1, offsetof(__sk_buff, sk), 0),
            insn(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 2, 0),
            call_helper(BPF_FUNC_sk_fullsock),
            insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0),
            mov(0, -2),
            exit_insn(),
            insn(BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0)};
  }
  // Counts in the socket's storage: as TaskStorage::get().
  std::vector<bpf_insn> count(const std::vector<bpf_insn>& initial, int32_t flags, int32_t stored = 0) {
    return code(
        {full_socket(),
         store(-8, stored),
         load_map(1, map_),
         {insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 6, 0, 0)},
         initial,
         {mov(4, flags), call_helper(BPF_FUNC_sk_storage_get), insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0),
          mov(0, -1), exit_insn(), insn(BPF_LDX | BPF_MEM | BPF_DW, 1, 0, 0, 0),
          insn(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1), insn(BPF_STX | BPF_MEM | BPF_DW, 0, 1, 0, 0),
          insn(BPF_ALU64 | BPF_MOV | BPF_X, 0, 1, 0, 0), exit_insn()}});
  }
  Fd loaded(const std::vector<bpf_insn>& program, uint32_t type = BPF_PROG_TYPE_SCHED_CLS) {
    return Fd(load(type, program));
  }

  Fd map_;
};
SKEP_CONTRACT(SocketStorage);

TEST_P(SocketStorage, ATestRunHasOneSocketForAllItsRepeats) {
  for (const uint32_t type : {BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SCHED_ACT}) {
    const Fd program = loaded(count({mov(3, 0)}, BPF_SK_STORAGE_GET_F_CREATE), type);
    ASSERT_GE(program.get(), 0);
    const auto packet = ipv4_packet();
    EXPECT_EQ(run_on(program, packet), 1);
    EXPECT_EQ(run_on(program, packet), 1) << "another socket";
    EXPECT_EQ(run_on(program, packet, 5), 5);
    EXPECT_EQ(run_on(program, packet), 1);
  }
}

TEST_P(SocketStorage, FlagsAndInitialValue) {
  EXPECT_EQ(run(count({mov(3, 0)}, 0)), -1) << "there is none, and none is made";
  EXPECT_EQ(run(count({mov(3, 0)}, 2)), -1);
  EXPECT_EQ(run(count({mov(3, 0)}, 3)), -1);
  EXPECT_EQ(run(count(stack_address(3, -8), BPF_SK_STORAGE_GET_F_CREATE, 41)), 42);
}

TEST_P(SocketStorage, Delete) {
  const auto remove_then = [&](bool create) {
    auto all = full_socket();
    const auto add = [&](const std::vector<bpf_insn>& part) {
      all.insert(all.end(), part.begin(), part.end());
    };
    if (create) {
      add(load_map(1, map_));
      add({insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 6, 0, 0), mov(3, 0), mov(4, 1),
           call_helper(BPF_FUNC_sk_storage_get)});
    }
    add(load_map(1, map_));
    add({insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 6, 0, 0), call_helper(BPF_FUNC_sk_storage_delete),
         exit_insn()});
    return all;
  };
  EXPECT_EQ(run(remove_then(false)), -ENOENT);
  EXPECT_EQ(run(remove_then(true)), 0);
}

TEST_P(SocketStorage, ItIsOfferedToTcProgramsAlone) {
  const std::vector<bpf_insn> program{mov(0, 0), call_helper(BPF_FUNC_sk_storage_get), exit_insn()};
  EXPECT_EQ(load(BPF_PROG_TYPE_XDP, program), -EINVAL);
  EXPECT_EQ(load(BPF_PROG_TYPE_SOCKET_FILTER, program), -EINVAL);
}

TEST_P(SocketStorage, OnlyMapsOfItsTypeAreTaken) {
  map_ = Fd(create({.type = BPF_MAP_TYPE_TASK_STORAGE}));
  EXPECT_EQ(load(BPF_PROG_TYPE_SCHED_CLS, count({mov(3, 0)}, 0)), -EINVAL);
}

TEST_P(SocketStorage, Fields) {
  struct Row {
    size_t offset;
    uint32_t ipv4;
    uint32_t ipv6;
    int width = BPF_W;
  };
  constexpr uint32_t kClose = 7;
  const Row rows[] = {
      {offsetof(bpf_sock, bound_dev_if), 0, 0},
      {offsetof(bpf_sock, family), AF_INET, AF_INET6},
      {offsetof(bpf_sock, type), 0, 0},
      {offsetof(bpf_sock, protocol), 0, 0},
      {offsetof(bpf_sock, mark), 0, 0},
      {offsetof(bpf_sock, priority), 0, 0},
      {offsetof(bpf_sock, src_ip4), 0x0d0c0b0a, 0},
      {offsetof(bpf_sock, dst_ip4), 0x11100f0e, 0},
      {offsetof(bpf_sock, src_ip6), 0, 0x43424140},
      {offsetof(bpf_sock, src_ip6) + 12, 0, 0x4f4e4d4c},
      {offsetof(bpf_sock, dst_ip6), 0, 0x53525150},
      {offsetof(bpf_sock, dst_ip6) + 12, 0, 0x5f5e5d5c},
      {offsetof(bpf_sock, src_port), 0, 0},
      {offsetof(bpf_sock, dst_port), 0, 0},
      {offsetof(bpf_sock, dst_port), 0, 0, BPF_H},
      {offsetof(bpf_sock, state), kClose, kClose},
      {offsetof(bpf_sock, state), kClose, kClose, BPF_B},
      {offsetof(bpf_sock, rx_queue_mapping), 0xffffffff, 0xffffffff},
  };
  for (const Row& row : rows) {
    const Fd program = loaded(code(
        {full_socket(),
         {insn(BPF_LDX | BPF_MEM | row.width, 0, 6, static_cast<int16_t>(row.offset), 0), exit_insn()}}));
    ASSERT_GE(program.get(), 0) << row.offset;
    EXPECT_EQ(static_cast<uint32_t>(run_on(program, ipv4_packet())), row.ipv4) << row.offset;
    EXPECT_EQ(static_cast<uint32_t>(run_on(program, ipv6_packet())), row.ipv6) << row.offset;
    const std::vector<uint8_t> other(64);
    const uint32_t plain = row.ipv4 == row.ipv6 ? row.ipv4 : 0;
    EXPECT_EQ(static_cast<uint32_t>(run_on(program, other)), plain) << row.offset << ", of no family";
  }
}

TEST_P(SocketStorage, APacketHasToHoldItsIpHeader) {
  const Fd program = loaded(return_value(3));
  for (const auto& [whole, least] : {std::pair{ipv4_packet(), 34U}, std::pair{ipv6_packet(), 54U}}) {
    EXPECT_EQ(run_on(program, std::span(whole).first(least)), 3);
    EXPECT_EQ(run_on(program, std::span(whole).first(least - 1)), -EINVAL);
  }
}

TEST_P(SocketStorage, Cookies) {
  const std::vector<bpf_insn> program{call_helper(BPF_FUNC_get_socket_cookie), exit_insn()};
  for (const uint32_t type :
       {BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SCHED_ACT, BPF_PROG_TYPE_SOCKET_FILTER}) {
    const Fd loaded_program = loaded(program, type);
    ASSERT_GE(loaded_program.get(), 0);
    const long first = run_on(loaded_program, ipv4_packet(), 3);
    const long second = run_on(loaded_program, ipv4_packet());
    EXPECT_NE(first, 0);
    EXPECT_NE(second, first) << "another socket";
  }
}

// What the kernel offers to programs of types that no program here is of.
TEST_P(LocalStorage, InodesAreOutOfProgramsReach) {
  for (const int helper : {BPF_FUNC_inode_storage_get, BPF_FUNC_inode_storage_delete})
    for (const uint32_t type : {BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP})
      EXPECT_EQ(load(type, std::vector{mov(0, 0), call_helper(helper), exit_insn()}), -EINVAL);
}

}  // namespace
}  // namespace skep::test
