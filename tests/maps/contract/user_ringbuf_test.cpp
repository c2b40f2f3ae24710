#include <cerrno>
#include <thread>

#include "ring_fixture.hpp"

namespace skep::test {
namespace {

constexpr uint32_t kBusy = BPF_RINGBUF_BUSY_BIT;
constexpr uint32_t kDiscard = BPF_RINGBUF_DISCARD_BIT;

class UserRingbufCommands : public Contract {};
SKEP_CONTRACT(UserRingbufCommands);

TEST_P(UserRingbufCommands, AttributesAndElements) {
  const auto create = [this](uint32_t key, uint32_t value, uint32_t entries, uint32_t flags = 0) {
    return Fd(create_map(BPF_MAP_TYPE_USER_RINGBUF, key, value, entries, flags));
  };
  const Fd map = create(0, 0, 4096);
  ASSERT_GE(map.get(), 0);
  EXPECT_EQ(create(4, 0, 4096).get(), -EINVAL);
  EXPECT_EQ(create(0, 8, 4096).get(), -EINVAL);
  for (const uint32_t entries : {0U, 2048U, 12288U}) EXPECT_EQ(create(0, 0, entries).get(), -EINVAL);
  for (const uint32_t flag : {BPF_F_NO_PREALLOC, BPF_F_RDONLY, BPF_F_WRONLY_PROG, BPF_F_MMAPABLE})
    EXPECT_EQ(create(0, 0, 4096, flag).get(), -EINVAL);
  uint64_t word = 0;
  EXPECT_EQ(lookup(map, nullptr, &word), -kNotSupported);
  EXPECT_EQ(update(map, nullptr, &word), -kNotSupported);
  EXPECT_EQ(erase(map, nullptr), -kNotSupported);
  EXPECT_EQ(next_key(map, nullptr, &word), -kNotSupported);
}

class UserRingbuf : public RingContract {
 protected:
  // Drains, and returns what the helper did. The callback counts in `seen` and `sum`, and stops at
  // `stop_after`.
  int64_t drain(uint64_t flags = 0) {
    set_number("flags", flags);
    set_number("seen", 0);
    set_number("sum", 0);
    return run("drain");
  }
  uint64_t seen() { return get<uint64_t>("seen"); }
  uint64_t sum() { return get<uint64_t>("sum"); }
};
SKEP_CONTRACT(UserRingbuf);

struct FreeUserRing {
  void operator()(user_ring_buffer* ring) const { user_ring_buffer__free(ring); }
};
using UserRing = std::unique_ptr<user_ring_buffer, FreeUserRing>;

TEST_P(UserRingbuf, ProducedByLibbpf) {
  const UserRing ring(user_ring_buffer__new(map("user_ring"), nullptr));
  ASSERT_TRUE(ring) << errno;
  EXPECT_EQ(drain(), 0);
  for (unsigned round = 0; round < 200; ++round) {
    // Of 16, 24 and 40 bytes, so that rounds end anywhere; one is discarded.
    for (const uint32_t size : {8U, 16U, 12U, 32U}) {
      auto* sample = static_cast<uint64_t*>(user_ring_buffer__reserve(ring.get(), size));
      ASSERT_NE(sample, nullptr) << round;
      *sample = size + round;
      size == 12 ? user_ring_buffer__discard(ring.get(), sample)
                 : user_ring_buffer__submit(ring.get(), sample);
    }
    ASSERT_EQ(drain(), 3) << round;
    EXPECT_EQ(seen(), 3U);
    EXPECT_EQ(sum(), 56 + uint64_t{3} * round);
  }
}

TEST_P(UserRingbuf, FullUntilDrained) {
  const UserRing ring(user_ring_buffer__new(map("user_ring"), nullptr));
  ASSERT_TRUE(ring) << errno;
  const auto fill = [&] {
    unsigned count = 0;
    while (void* sample = user_ring_buffer__reserve(ring.get(), 56)) {
      user_ring_buffer__submit(ring.get(), sample);
      ++count;
    }
    EXPECT_EQ(errno, ENOSPC);
    return count;
  };
  EXPECT_EQ(user_ring_buffer__reserve(ring.get(), 4096), nullptr);
  EXPECT_EQ(errno, E2BIG);
  EXPECT_EQ(fill(), 64U);
  EXPECT_EQ(user_ring_buffer__reserve_blocking(ring.get(), 56, 10), nullptr);
  std::thread drainer([this] {
    std::optional<loader::LibbpfBinding> binding;
    if (machine_) binding.emplace(*machine_);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(drain(), 64);
  });
  void* const sample = user_ring_buffer__reserve_blocking(ring.get(), 56, -1);
  drainer.join();
  ASSERT_NE(sample, nullptr);
  user_ring_buffer__submit(ring.get(), sample);
  EXPECT_EQ(drain(), 1);
}

TEST_P(UserRingbuf, StopsWhereTheCallbackSays) {
  const UserRing ring(user_ring_buffer__new(map("user_ring"), nullptr));
  ASSERT_TRUE(ring);
  for (unsigned n = 0; n < 5; ++n)
    user_ring_buffer__submit(ring.get(), user_ring_buffer__reserve(ring.get(), 8));
  set_number("stop_after", 2);
  EXPECT_EQ(drain(), 2);
  set_number("stop_after", 0);
  EXPECT_EQ(drain(), 3);
}

TEST_P(UserRingbuf, Flags) {
  EXPECT_EQ(drain(BPF_RB_NO_WAKEUP), 0);
  EXPECT_EQ(drain(BPF_RB_FORCE_WAKEUP), 0);
  EXPECT_EQ(drain(4), -EINVAL);
}

TEST_P(UserRingbuf, OneDrainAtATime) {
  const UserRing ring(user_ring_buffer__new(map("user_ring"), nullptr));
  ASSERT_TRUE(ring);
  user_ring_buffer__submit(ring.get(), user_ring_buffer__reserve(ring.get(), 8));
  EXPECT_EQ(run("drain_twice"), 1);
  EXPECT_EQ(get<int64_t>("second_result"), -EBUSY);
}

TEST_P(UserRingbuf, WhatUserSpaceWritesIsNotBelieved) {
  const RingPages pages(map("user_ring"), kSize, true);
  ASSERT_TRUE(pages.mapped());
  const auto header = [&](uint32_t length) { std::memcpy(pages.data(), &length, sizeof length); };
  pages.producer() = 4;
  EXPECT_EQ(drain(), -EINVAL);
  pages.producer() = 16;
  header(9);  // would end at 24
  EXPECT_EQ(drain(), -EINVAL);
  header(8 | kBusy);
  EXPECT_EQ(drain(), 0);
  pages.producer() = 1 << 20;
  header(4096);
  EXPECT_EQ(drain(), -E2BIG);
  pages.producer() = 16;
  header(8 | kDiscard | kBusy);
  EXPECT_EQ(drain(), 0);
  EXPECT_EQ(pages.consumer(), 16U);
  pages.producer() = 8;  // behind the consumer
  EXPECT_EQ(drain(), 0);
}

}  // namespace
}  // namespace skep::test
