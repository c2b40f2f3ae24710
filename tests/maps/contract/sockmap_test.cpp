#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

class SockMaps : public ProgramContract {
 protected:
  Fd create(uint32_t entries = 4, uint32_t value_size = 8, uint32_t flags = 0) {
    return Fd(create_map(BPF_MAP_TYPE_SOCKMAP, 4, value_size, entries, flags));
  }
  Fd create_hash(uint32_t entries = 4, uint32_t value_size = 8, uint32_t flags = 0) {
    return Fd(create_map(BPF_MAP_TYPE_SOCKHASH, 4, value_size, entries, flags));
  }
  long put(const Fd& map, uint32_t index, const Fd& socket, uint64_t flags = BPF_ANY) {
    const uint64_t descriptor = socket.field();
    return update(map, &index, &descriptor, flags);
  }
  // The cookie, or a negative error number.
  int64_t at(const Fd& map, uint32_t index) {
    uint64_t cookie = 0;
    const long result = lookup(map, &index, &cookie);
    return result == 0 ? static_cast<int64_t>(cookie) : result;
  }
  static int64_t cookie_of(const Fd& socket) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(socket.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? static_cast<int64_t>(cookie)
                                                                                : -1;
  }
  // An Internet socket bound to some port of this host's own.
  static Fd bound(int type) {
    Fd made(socket(AF_INET, type, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return made;
  }
  static Fd connected_to(const Fd& listener) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    Fd made(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(connect(made.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    return made;
  }
  static std::pair<Fd, Fd> pair_of(int type) {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, type, 0, ends.data()), 0);
    return {Fd(ends[0]), Fd(ends[1])};
  }
};
SKEP_CONTRACT(SockMaps);

TEST_P(SockMaps, Attributes) {
  constexpr uint32_t kType = BPF_MAP_TYPE_SOCKMAP;
  EXPECT_GE(create().get(), 0);
  EXPECT_GE(create(4, 4).get(), 0);
  for (const uint32_t size : {0U, 2U, 12U, 16U}) EXPECT_EQ(create_map(kType, 4, size, 4), -EINVAL) << size;
  for (const uint32_t size : {0U, 2U, 8U}) EXPECT_EQ(create_map(kType, size, 8, 4), -EINVAL) << size;
  EXPECT_EQ(create_map(kType, 4, 8, 0), -EINVAL);
  for (const uint32_t flags : {uint32_t{BPF_F_RDONLY}, uint32_t{BPF_F_WRONLY}, uint32_t{BPF_F_NUMA_NODE}})
    EXPECT_GE(create(4, 8, flags).get(), 0) << flags;
  for (const uint32_t flags : {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_RDONLY_PROG},
                               uint32_t{BPF_F_WRONLY_PROG}, uint32_t{BPF_F_MMAPABLE}})
    EXPECT_EQ(create(4, 8, flags).get(), -EINVAL) << flags;
}

TEST_P(SockMaps, SocketsThatAreAdmitted) {
  const Fd map = create(16);
  const Fd listener = bound(SOCK_STREAM);
  EXPECT_EQ(put(map, 0, listener), -EOPNOTSUPP) << "bound, but neither listening nor established";
  ASSERT_EQ(listen(listener.get(), 1), 0);
  EXPECT_EQ(put(map, 0, listener), 0);
  const Fd established = connected_to(listener);
  EXPECT_EQ(put(map, 1, established), 0);
  EXPECT_EQ(put(map, 2, bound(SOCK_DGRAM)), 0);
  EXPECT_EQ(put(map, 3, Fd(socket(AF_INET, SOCK_DGRAM, 0))), -EOPNOTSUPP) << "without a port";
  const auto stream = pair_of(SOCK_STREAM);
  EXPECT_EQ(put(map, 4, stream.first), 0);
  const auto datagram = pair_of(SOCK_DGRAM);
  EXPECT_EQ(put(map, 5, datagram.first), 0);
  EXPECT_EQ(put(map, 6, pair_of(SOCK_SEQPACKET).first), -EOPNOTSUPP);
  EXPECT_EQ(put(map, 6, Fd(socket(AF_UNIX, SOCK_STREAM, 0))), -EOPNOTSUPP) << "not connected";
  EXPECT_EQ(put(map, 6, Fd(socket(AF_NETLINK, SOCK_RAW, 0))), -EOPNOTSUPP);
  EXPECT_EQ(at(map, 0), cookie_of(listener));
  EXPECT_EQ(at(map, 4), cookie_of(stream.first));
}

TEST_P(SockMaps, WhatIsNoSocket) {
  const Fd map = create();
  EXPECT_EQ(put(map, 1, Fd(dup(STDIN_FILENO))), -ENOTSOCK);
  EXPECT_EQ(put(map, 1, map), -ENOTSOCK) << "itself";
  const uint32_t index = 1;
  uint64_t descriptor = 0x7fffffff;
  EXPECT_EQ(update(map, &index, &descriptor), -EBADF);
  for (const uint64_t impossible :
       {uint64_t{0x80000000}, uint64_t{UINT32_MAX}, uint64_t{1} << 32, UINT64_MAX})
    EXPECT_EQ(update(map, &index, &impossible), -EINVAL) << impossible;
  EXPECT_EQ(update(map, &index, reinterpret_cast<const void*>(kNowhere)), -EFAULT);
  EXPECT_EQ(at(map, 1), -ENOENT);
}

TEST_P(SockMaps, FlagsAndCommands) {
  const Fd map = create(2);
  const auto sockets = pair_of(SOCK_DGRAM);
  const Fd& socket = sockets.first;
  EXPECT_EQ(put(map, 2, socket), -E2BIG);
  EXPECT_EQ(put(map, 2, socket, 3), -EINVAL);
  EXPECT_EQ(put(map, 1, socket, BPF_EXIST), -ENOENT);
  EXPECT_EQ(put(map, 1, socket, BPF_NOEXIST), 0);
  EXPECT_EQ(put(map, 1, socket, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(put(map, 1, sockets.second, BPF_EXIST), 0);
  EXPECT_EQ(put(map, 0, sockets.second), 0) << "twice in one map";
  EXPECT_EQ(at(map, 1), cookie_of(sockets.second));
  EXPECT_EQ(at(map, 2), -ENOENT);
  uint32_t index = 1;
  EXPECT_EQ(erase(map, &index), 0);
  EXPECT_EQ(erase(map, &index), -EINVAL) << "nothing there";
  EXPECT_EQ(at(map, 1), -ENOENT);
  index = 2;
  EXPECT_EQ(erase(map, &index), -EINVAL) << "beyond the end";
  uint32_t next = 9;
  EXPECT_EQ(next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, 0U);
  EXPECT_EQ(next_key(map, &next, &next), 0);
  EXPECT_EQ(next, 1U);
  EXPECT_EQ(next_key(map, &next, &next), -ENOENT);
  uint64_t value = 0;
  index = 0;
  EXPECT_EQ(lookup(map, &index, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(lookup_and_delete(map, &index, &value), -kNotSupported);
  for (const int command : {BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH})
    EXPECT_EQ(batch(command, map), -kNotSupported) << command;
}

TEST_P(SockMaps, DescriptorsOfFourBytesAreNotRead) {
  const Fd map = create(2, 4);
  const auto sockets = pair_of(SOCK_DGRAM);
  EXPECT_EQ(put(map, 1, sockets.first), 0);
  EXPECT_EQ(at(map, 1), -ENOSPC);
  EXPECT_EQ(at(map, 5), -ENOSPC);
}

TEST_P(SockMaps, AClosedSocketIsTakenOut) {
  const Fd map = create();
  auto sockets = pair_of(SOCK_DGRAM);
  ASSERT_EQ(put(map, 1, sockets.first), 0);
  {
    const Fd copy(dup(sockets.first.get()));
    sockets.first.reset();
    EXPECT_GT(at(map, 1), 0) << "open elsewhere";
  }
  EXPECT_EQ(at(map, 1), -ENOENT);
  EXPECT_EQ(put(map, 1, sockets.second, BPF_NOEXIST), 0);
}

class SockHashes : public SockMaps {};
SKEP_CONTRACT(SockHashes);

TEST_P(SockHashes, Attributes) {
  constexpr uint32_t kType = BPF_MAP_TYPE_SOCKHASH;
  EXPECT_GE(Fd(create_map(kType, 4, 4, 4)).get(), 0);
  for (const uint32_t size : {1U, 13U, 512U}) EXPECT_GE(Fd(create_map(kType, size, 8, 4)).get(), 0) << size;
  EXPECT_EQ(create_map(kType, 0, 8, 4), -EINVAL);
  EXPECT_EQ(create_map(kType, 513, 8, 4), -E2BIG);
  for (const uint32_t size : {0U, 2U, 12U, 16U}) EXPECT_EQ(create_map(kType, 4, size, 4), -EINVAL) << size;
  EXPECT_EQ(create_map(kType, 4, 8, 0), -EINVAL);
  EXPECT_EQ(create_map(kType, 4, 8, 0x10000001), -EINVAL) << "buckets";
  for (const uint32_t flags : {uint32_t{BPF_F_RDONLY}, uint32_t{BPF_F_WRONLY}, uint32_t{BPF_F_NUMA_NODE}})
    EXPECT_GE(create_hash(4, 8, flags).get(), 0) << flags;
  for (const uint32_t flags :
       {uint32_t{BPF_F_NO_PREALLOC}, uint32_t{BPF_F_ZERO_SEED}, uint32_t{BPF_F_RDONLY_PROG}})
    EXPECT_EQ(create_hash(4, 8, flags).get(), -EINVAL) << flags;
}

TEST_P(SockHashes, FlagsAndCommands) {
  const Fd map = create_hash(2);
  const auto sockets = pair_of(SOCK_DGRAM);
  EXPECT_EQ(put(map, 70, Fd(socket(AF_UNIX, SOCK_STREAM, 0))), -EOPNOTSUPP) << "not connected";
  EXPECT_EQ(put(map, 70, sockets.first, 3), -EINVAL);
  EXPECT_EQ(put(map, 70, sockets.first, BPF_EXIST), -ENOENT);
  EXPECT_EQ(put(map, 70, sockets.first, BPF_NOEXIST), 0);
  EXPECT_EQ(put(map, 70, sockets.first, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(put(map, 80, sockets.second), 0);
  EXPECT_EQ(put(map, 90, sockets.second), -E2BIG);
  EXPECT_EQ(put(map, 80, sockets.first, BPF_EXIST), 0) << "full";
  EXPECT_EQ(at(map, 80), cookie_of(sockets.first));
  EXPECT_EQ(at(map, 90), -ENOENT);
  uint32_t key = 90;
  EXPECT_EQ(erase(map, &key), -ENOENT);
  key = 70;
  EXPECT_EQ(erase(map, &key), 0);
  uint32_t next = 0;
  EXPECT_EQ(next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, 80U);
  EXPECT_EQ(next_key(map, &key, &next), 0) << "of a key that is gone, the first";
  EXPECT_EQ(next, 80U);
  EXPECT_EQ(next_key(map, &next, &next), -ENOENT);
  uint64_t value = 0;
  EXPECT_EQ(lookup(map, &next, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(lookup_and_delete(map, &next, &value), -kNotSupported);
  for (const int command : {BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH})
    EXPECT_EQ(batch(command, map), -kNotSupported) << command;
}

TEST_P(SockHashes, DescriptorsOfFourBytesAreNotRead) {
  const Fd map = create_hash(2, 4);
  const auto sockets = pair_of(SOCK_DGRAM);
  EXPECT_EQ(put(map, 1, sockets.first), 0);
  EXPECT_EQ(at(map, 1), -ENOSPC);
}

// Wherever it is, and nothing else; its places are free again.
TEST_P(SockHashes, AClosedSocketIsTakenOut) {
  const Fd map = create_hash(3);
  auto sockets = pair_of(SOCK_DGRAM);
  ASSERT_EQ(put(map, 1, sockets.first), 0);
  ASSERT_EQ(put(map, 2, sockets.second), 0);
  ASSERT_EQ(put(map, 3, sockets.first), 0);
  sockets.first.reset();
  EXPECT_EQ(at(map, 1), -ENOENT);
  EXPECT_EQ(at(map, 2), cookie_of(sockets.second));
  EXPECT_EQ(put(map, 4, sockets.second), 0);
  EXPECT_EQ(put(map, 5, sockets.second), 0);
  EXPECT_EQ(put(map, 6, sockets.second), -E2BIG);
  sockets.second.reset();
  uint32_t next = 0;
  EXPECT_EQ(next_key(map, nullptr, &next), -ENOENT);
}

}  // namespace
}  // namespace skep::test
