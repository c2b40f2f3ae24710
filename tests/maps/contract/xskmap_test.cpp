#include <sys/socket.h>

#include <cerrno>

#include "redirect_programs.hpp"

namespace skep::test {
namespace {

constexpr uint32_t kType = BPF_MAP_TYPE_XSKMAP;

class XskMapContract : public RedirectMapContract {
 protected:
  XskMapContract() : RedirectMapContract(kType) {}

  // A kernel that was configured without AF_XDP (CONFIG_XDP_SOCKETS) has neither its sockets nor the map.
  void SetUp() override {
    RedirectMapContract::SetUp();
    if (!on_host() || IsSkipped()) return;
    const Fd socket(::socket(AF_XDP, SOCK_RAW, 0));
    const int error = errno;
    if (socket.get() < 0 && error == EAFNOSUPPORT) GTEST_SKIP() << "socket(AF_XDP): the kernel has none";
  }
};
SKEP_CONTRACT(XskMapContract);

TEST_P(XskMapContract, Attributes) {
  EXPECT_EQ(create(4, 4, 1), 0);
  EXPECT_EQ(create(4, 4, 0), -EINVAL);
  EXPECT_EQ(create(8, 4, 1), -EINVAL);
  EXPECT_EQ(create(4, 8, 1), -EINVAL);
  for (const uint32_t flag : {uint32_t{BPF_F_NUMA_NODE}, uint32_t{BPF_F_RDONLY}, uint32_t{BPF_F_WRONLY}})
    EXPECT_EQ(create(4, 4, 1, flag), 0) << flag;
  for (const uint32_t flag : {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_RDONLY_PROG}})
    EXPECT_EQ(create(4, 4, 1, flag), -EINVAL) << flag;
}

TEST_P(XskMapContract, ElementsAreSockets) {
  const Fd map(create_map(kType, 4, 4, 4));
  const uint32_t key = 1;
  const uint32_t outside = 4;
  const auto put = [&](const uint32_t& index, int descriptor, uint64_t flags = 0) {
    return update(map, &index, &descriptor, flags);
  };
  EXPECT_EQ(put(key, 12345), -EBADF);
  EXPECT_EQ(put(key, map.get()), -ENOTSOCK);
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(put(key, socket.get()), -EOPNOTSUPP);
  EXPECT_EQ(put(outside, socket.get()), -E2BIG);
  EXPECT_EQ(put(key, socket.get(), 3), -EINVAL);
  EXPECT_EQ(put(outside, socket.get(), 3), -EINVAL);
  uint32_t value = 0;
  EXPECT_EQ(lookup(map, &key, &value), -EOPNOTSUPP) << "they are not given back";
  EXPECT_EQ(erase(map, &key), 0);
  EXPECT_EQ(erase(map, &outside), -EINVAL);
  uint32_t next = 7;
  EXPECT_EQ(next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, 0U);
  const uint32_t last = 3;
  EXPECT_EQ(next_key(map, &last, &next), -ENOENT);
}

TEST_P(XskMapContract, CommandsItLacks) { expect_single_commands_only(); }

TEST_P(XskMapContract, EmptySlotsFallBack) {
  const Fd map(create_map(kType, 4, 4, 4));
  for (const int fallback : {XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX})
    EXPECT_EQ(redirected(map, 1, fallback), fallback);
  EXPECT_EQ(redirected(map, 1, 4), XDP_ABORTED);
  EXPECT_EQ(redirected(map, 1, BPF_F_BROADCAST), XDP_ABORTED);
}

TEST_P(XskMapContract, HelpersThatTakeIt) {
  const Fd map(create_map(kType, 4, 4, 4));
  EXPECT_EQ(loads_call(map, BPF_FUNC_map_lookup_elem), 0);
  for (const int helper : {BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem})
    EXPECT_EQ(loads_call(map, helper), -EINVAL) << helper;
}

}  // namespace
}  // namespace skep::test
