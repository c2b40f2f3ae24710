#include "vm/host_objects.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace skep::vm {
namespace {

using maps::HostKind;
using maps::HostObject;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() { reset(); }
  int get() const { return number_; }
  void reset() {
    if (number_ >= 0) close(number_);
    number_ = -1;
  }

 private:
  int number_;
};

Descriptor open_socket() { return Descriptor(socket(AF_INET, SOCK_DGRAM, 0)); }
Descriptor open_pidfd(pid_t task) { return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, task, 0))); }

// A process that does nothing until it is told to end.
class Child {
 public:
  Child() : pipe_(make_pipe()), task_(fork()) {
    if (task_ == 0) {
      close(pipe_.second);
      char byte = 0;
      [[maybe_unused]] const ssize_t got = read(pipe_.first, &byte, 1);
      _exit(0);
    }
    close(pipe_.first);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { wait(); }
  pid_t task() const { return task_; }
  // Leaves it a process that nobody has waited for.
  void finish() {
    close(std::exchange(pipe_.second, -1));
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(task_), &info, WEXITED | WNOWAIT);
  }
  void wait() {
    if (task_ <= 0) return;
    if (pipe_.second >= 0) finish();
    waitpid(std::exchange(task_, 0), nullptr, 0);
  }

 private:
  static std::pair<int, int> make_pipe() {
    int ends[2] = {-1, -1};
    [[maybe_unused]] const int made = pipe2(ends, O_CLOEXEC);
    return {ends[0], ends[1]};
  }
  std::pair<int, int> pipe_;
  pid_t task_;
};

class Observer final : public maps::HostObserver {
 public:
  void host_object_ended(HostObject& object) override { ended.push_back(&object); }
  std::vector<HostObject*> ended;
};

class HostObjectsTest : public testing::Test {
 protected:
  HostObjectsTest() { table_.observe(observer_); }

  std::shared_ptr<HostObject> at(HostKind kind, const Descriptor& descriptor) {
    auto object = table_.at(kind, descriptor.get());
    EXPECT_TRUE(object) << object.error().message;
    return object ? *object : nullptr;
  }
  int error_of(HostKind kind, int descriptor) {
    auto object = table_.at(kind, descriptor);
    return object ? 0 : object.error().code;
  }

  maps::EpochDomain epochs_{1};
  HostObjectTable table_{epochs_};
  std::shared_ptr<Observer> observer_ = std::make_shared<Observer>();
};

TEST_F(HostObjectsTest, ASocketIsTheSameByEveryDescriptor) {
  const Descriptor one = open_socket();
  const Descriptor same(dup(one.get()));
  const Descriptor other = open_socket();
  const auto object = at(HostKind::kSocket, one);
  EXPECT_EQ(object, at(HostKind::kSocket, same));
  EXPECT_NE(object, at(HostKind::kSocket, other));
  EXPECT_EQ(object->kind(), HostKind::kSocket);
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  ASSERT_EQ(getsockopt(one.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
  EXPECT_EQ(object->number(), cookie);
}

TEST_F(HostObjectsTest, ASocketEndsWithItsLastDescriptor) {
  Descriptor one = open_socket();
  Descriptor same(dup(one.get()));
  const auto object = at(HostKind::kSocket, one);
  one.reset();
  table_.refresh();
  EXPECT_TRUE(object->alive());
  EXPECT_EQ(object, at(HostKind::kSocket, same));
  same.reset();
  table_.refresh();
  EXPECT_FALSE(object->alive());
  EXPECT_EQ(observer_->ended, std::vector{object.get()});
  table_.refresh();
  EXPECT_EQ(observer_->ended.size(), 1U);
}

TEST_F(HostObjectsTest, ASocketLivesAsLongAsAnotherProcessHasIt) {
  Descriptor one = open_socket();
  const auto object = at(HostKind::kSocket, one);
  Child heir;
  one.reset();
  table_.refresh();
  EXPECT_TRUE(object->alive());
  heir.wait();
  table_.refresh();
  EXPECT_FALSE(object->alive());
}

TEST_F(HostObjectsTest, ADescriptorUsedAgainIsAnotherSocket) {
  Descriptor one = open_socket();
  const auto first = at(HostKind::kSocket, one);
  const int number = one.get();
  one.reset();
  const Descriptor two = open_socket();
  ASSERT_EQ(two.get(), number);
  const auto second = at(HostKind::kSocket, two);
  EXPECT_NE(first, second);
  table_.refresh();
  EXPECT_FALSE(first->alive());
  EXPECT_TRUE(second->alive());
}

TEST_F(HostObjectsTest, WhatIsNoSocketIsRefusedAsTheKernelDoes) {
  const Descriptor file(open("/dev/null", O_RDONLY));
  EXPECT_EQ(error_of(HostKind::kSocket, file.get()), ENOTSOCK);
  EXPECT_EQ(error_of(HostKind::kSocket, -1), EBADF);
  EXPECT_EQ(error_of(HostKind::kSocket, 9999), EBADF);
}

TEST_F(HostObjectsTest, ATaskEndsWhenItWasWaitedFor) {
  Child child;
  const Descriptor pidfd = open_pidfd(child.task());
  const auto object = at(HostKind::kTask, pidfd);
  EXPECT_EQ(object->number(), static_cast<uint64_t>(child.task()));
  child.finish();
  table_.refresh();
  EXPECT_TRUE(object->alive());
  EXPECT_EQ(object, at(HostKind::kTask, pidfd));
  child.wait();
  table_.refresh();
  EXPECT_FALSE(object->alive());
  EXPECT_EQ(error_of(HostKind::kTask, pidfd.get()), ENOENT);
}

TEST_F(HostObjectsTest, TheCallingTaskIsTheOneOfItsPidfd) {
  const Descriptor pidfd = open_pidfd(getpid());
  const auto object = at(HostKind::kTask, pidfd);
  EXPECT_EQ(object, table_.task(getpid()));
  std::shared_ptr<HostObject> other;
  std::thread([&] { other = table_.task(gettid()); }).join();
  EXPECT_NE(object, other);
  table_.refresh();
  EXPECT_TRUE(object->alive());
  EXPECT_FALSE(other->alive());
}

TEST_F(HostObjectsTest, WhatIsNoPidfdIsRefused) {
  const Descriptor socket = open_socket();
  EXPECT_EQ(error_of(HostKind::kTask, socket.get()), EBADF);
  EXPECT_EQ(error_of(HostKind::kTask, -1), EBADF);
}

TEST_F(HostObjectsTest, AnInodeIsTheSameByEveryDescriptor) {
  char path[] = "/tmp/skep-inode-XXXXXX";
  const Descriptor one(mkstemp(path));
  const Descriptor again(open(path, O_PATH));
  const Descriptor other(open("/dev/null", O_RDONLY));
  const auto object = at(HostKind::kInode, one);
  EXPECT_EQ(object, at(HostKind::kInode, again));
  EXPECT_NE(object, at(HostKind::kInode, other));
  unlink(path);
  table_.refresh();
  EXPECT_TRUE(object->alive());
  EXPECT_EQ(error_of(HostKind::kInode, -1), EBADF);
}

// Where this process may make a cgroup of version 2.
std::optional<std::string> cgroup_root() {
  std::ifstream mounts("/proc/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, path, type;
    fields >> device >> path >> type;
    if (type == "cgroup2" && access(path.c_str(), W_OK) == 0) return path;
  }
  return std::nullopt;
}

TEST_F(HostObjectsTest, ACgroupEndsWhenItIsRemoved) {
  const auto root = cgroup_root();
  if (!root) GTEST_SKIP() << "no cgroup file system that may be written";
  const std::string path = *root + "/skep-test-" + std::to_string(getpid());
  if (mkdir(path.c_str(), 0755) != 0) GTEST_SKIP() << "no cgroup can be made";
  const Descriptor directory(open(path.c_str(), O_RDONLY | O_DIRECTORY));
  const Descriptor above(open(root->c_str(), O_PATH));
  const auto object = at(HostKind::kCgroup, directory);
  EXPECT_EQ(object, table_.unified_cgroup_at(directory.get()));
  EXPECT_NE(object, at(HostKind::kCgroup, above));
  table_.refresh();
  EXPECT_TRUE(object->alive());
  ASSERT_EQ(rmdir(path.c_str()), 0);
  table_.refresh();
  EXPECT_FALSE(object->alive());
  EXPECT_EQ(error_of(HostKind::kCgroup, directory.get()), ENOENT);
}

TEST_F(HostObjectsTest, WhatIsNoCgroupIsRefused) {
  const Descriptor directory(open("/tmp", O_RDONLY | O_DIRECTORY));
  EXPECT_EQ(error_of(HostKind::kCgroup, directory.get()), EBADF);
  EXPECT_EQ(error_of(HostKind::kCgroup, -1), EBADF);
  const auto unified = table_.unified_cgroup_at(directory.get());
  ASSERT_FALSE(unified);
  EXPECT_EQ(unified.error().code, EBADF);
}

TEST_F(HostObjectsTest, ObjectsThatNobodyRefersToAreLetGoOf) {
  const Descriptor one = open_socket();
  const Descriptor two = open_socket();
  const auto kept = at(HostKind::kSocket, one);
  at(HostKind::kSocket, two)->hold();
  EXPECT_EQ(table_.size(), 2U);
  table_.refresh();
  EXPECT_EQ(table_.size(), 2U);
  at(HostKind::kSocket, two)->let_go();
  table_.refresh();
  EXPECT_EQ(table_.size(), 1U);
  // Known again, and watched again.
  const auto again = at(HostKind::kSocket, two);
  table_.refresh();
  EXPECT_TRUE(again->alive());
  EXPECT_TRUE(observer_->ended.empty());
}

TEST_F(HostObjectsTest, WhatHasEndedGoesWithoutBeingAskedFor) {
  for (int n = 0; n < 2000; ++n) at(HostKind::kSocket, open_socket())->hold();
  EXPECT_LE(table_.size(), 128U);
  EXPECT_GE(observer_->ended.size(), 2000U - 128U);
}

TEST_F(HostObjectsTest, AnObjectWithoutDescriptorsEndsWhenItsOwnerSaysSo) {
  auto object = std::make_shared<HostObject>(HostKind::kSocket, 1);
  table_.end(object);
  EXPECT_FALSE(object->alive());
  EXPECT_EQ(observer_->ended, std::vector{object.get()});
}

TEST_F(HostObjectsTest, AnObserverThatIsGoneIsNotTold) {
  const std::weak_ptr<Observer> gone = observer_;
  observer_.reset();
  ASSERT_TRUE(gone.expired());
  table_.end(std::make_shared<HostObject>(HostKind::kSocket, 1));
}

TEST_F(HostObjectsTest, ManyThreadsSeeOneObject) {
  observer_.reset();
  const Descriptor shared = open_socket();
  const auto object = at(HostKind::kSocket, shared);
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 200; ++turn) {
        const Descriptor own = open_socket();
        const auto mine = table_.at(HostKind::kSocket, own.get());
        EXPECT_TRUE(mine && (*mine)->alive());
        const auto same = table_.at(HostKind::kSocket, shared.get());
        EXPECT_TRUE(same && *same == object);
        if (turn % 16 == 0) table_.refresh();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  table_.refresh();
  EXPECT_EQ(table_.size(), 1U);
}

}  // namespace
}  // namespace skep::vm
