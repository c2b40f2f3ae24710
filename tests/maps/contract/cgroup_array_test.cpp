#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <string>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

// The root of the unified hierarchy; empty: it is not mounted where it usually is.
std::string unified_root() {
  for (const char* path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct statfs status{};
    if (statfs(path, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC) return path;
  }
  return {};
}

// A cgroup in which nobody is; removed at the end.
class EmptyCgroup {
 public:
  explicit EmptyCgroup(const std::string& parent)
      : path_(parent + "/skep_test_" + std::to_string(getpid())), made_(mkdir(path_.c_str(), 0755) == 0) {}
  EmptyCgroup(const EmptyCgroup&) = delete;
  EmptyCgroup& operator=(const EmptyCgroup&) = delete;
  ~EmptyCgroup() { remove(); }
  bool made() const { return made_; }
  void remove() {
    if (made_) rmdir(path_.c_str());
    made_ = false;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool made_;
};

class CgroupArrays : public ProgramContract {
 protected:
  Fd create(uint32_t entries = 4) { return Fd(create_map(BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4, entries)); }
  static Fd directory(const std::string& path) { return Fd(open(path.c_str(), O_RDONLY | O_DIRECTORY)); }
  long put(const Fd& map, uint32_t index, const Fd& cgroup, uint64_t flags = BPF_ANY) {
    const int descriptor = cgroup.get();
    return update(map, &index, &descriptor, flags);
  }
  long under_by_packet(const Fd& map, int32_t index) {
    return run(
        code({load_map(2, map), {mov(3, index), call_helper(BPF_FUNC_skb_under_cgroup), exit_insn()}}));
  }
  long under_by_task(const Fd& map, int32_t index) {
    const auto program = code(
        {load_map(1, map), {mov(2, index), call_helper(BPF_FUNC_current_task_under_cgroup), exit_insn()}});
    const Fd loaded(load(BPF_PROG_TYPE_RAW_TRACEPOINT, program));
    if (loaded.get() < 0) return loaded.get();
    bpf_attr attributes{};
    attributes.test.prog_fd = loaded.field();
    const long result = call(BPF_PROG_TEST_RUN, attributes);
    return result == 0 ? static_cast<int32_t>(attributes.test.retval) : result;
  }
};
SKEP_CONTRACT(CgroupArrays);

TEST_P(CgroupArrays, Attributes) {
  constexpr uint32_t kType = BPF_MAP_TYPE_CGROUP_ARRAY;
  EXPECT_GE(create().get(), 0);
  EXPECT_EQ(create_map(kType, 4, 8, 4), -EINVAL);
  EXPECT_EQ(create_map(kType, 8, 4, 4), -EINVAL);
  EXPECT_EQ(create_map(kType, 4, 4, 0), -EINVAL);
  for (const uint32_t flags :
       {uint32_t{BPF_F_RDONLY_PROG}, uint32_t{BPF_F_WRONLY_PROG}, uint32_t{BPF_F_MMAPABLE},
        uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_INNER_MAP}})
    EXPECT_EQ(create_map(kType, 4, 4, 4, flags), -EINVAL) << flags;
}

TEST_P(CgroupArrays, WhatIsNoCgroup) {
  const Fd map = create();
  const uint32_t index = 1;
  for (const int closed : {0x7fffffff, -1}) EXPECT_EQ(update(map, &index, &closed), -EBADF) << closed;
  EXPECT_EQ(put(map, 1, Fd(dup(STDIN_FILENO))), -EBADF);
  EXPECT_EQ(put(map, 1, directory("/tmp")), -EBADF) << "any directory";
  EXPECT_EQ(put(map, 1, map), -EBADF) << "itself";
  uint32_t value = 0;
  EXPECT_EQ(lookup(map, &index, &value), -kNotSupported);
  EXPECT_EQ(lookup(map, &index, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(erase(map, &index), -ENOENT);
  EXPECT_EQ(update(map, &index, reinterpret_cast<const void*>(kNowhere)), -EFAULT);
  EXPECT_EQ(under_by_packet(map, 1), -EAGAIN);
  EXPECT_EQ(under_by_packet(map, 4), -E2BIG);
  EXPECT_EQ(under_by_task(map, 1), -EAGAIN);
  EXPECT_EQ(under_by_task(map, -1), -E2BIG);
  for (const int command : {BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH})
    EXPECT_EQ(batch(command, map), -kNotSupported) << command;
  for (const int32_t helper : {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_delete_elem})
    EXPECT_EQ(run(call_with_value(map, helper, 0, 0)), -EINVAL) << helper;
}

TEST_P(CgroupArrays, WhoIsInACgroup) {
  const std::string root = unified_root();
  if (root.empty()) GTEST_SKIP() << "the unified hierarchy of cgroups is not mounted";
  const Fd map = create();
  const Fd all = directory(root);
  EXPECT_EQ(put(map, 4, all), -E2BIG);
  EXPECT_EQ(put(map, 0, all, BPF_NOEXIST), -EINVAL);
  ASSERT_EQ(put(map, 0, all), 0);
  EXPECT_EQ(under_by_packet(map, 0), 1) << "everybody is in the root";
  EXPECT_EQ(under_by_task(map, 0), 1);
  uint32_t index = 0;
  uint32_t value = 0;
  EXPECT_EQ(lookup(map, &index, &value), -kNotSupported);
  EXPECT_EQ(put(map, 0, Fd(open((root + "/cgroup.procs").c_str(), O_RDONLY))), -EBADF) << "a file in it";

  EmptyCgroup empty(root);
  if (!empty.made()) GTEST_SKIP() << "cgroups cannot be made";
  const Fd inside = directory(empty.path());
  ASSERT_EQ(put(map, 1, inside), 0);
  EXPECT_EQ(under_by_packet(map, 1), 0);
  EXPECT_EQ(under_by_task(map, 1), 0);
  empty.remove();
  EXPECT_EQ(under_by_task(map, 1), 0) << "it is in the map still";
  EXPECT_EQ(put(map, 2, inside), -ENOENT) << "but is not put there any more";
  index = 1;
  EXPECT_EQ(erase(map, &index), 0);
  EXPECT_EQ(under_by_task(map, 1), -EAGAIN);
}

}  // namespace
}  // namespace skep::test
