#include <cerrno>
#include <vector>

#include "ring_fixture.hpp"

namespace skep::test {
namespace {

class PerfEventArrayCommands : public Contract {
 protected:
  long create(uint32_t key, uint32_t value, uint32_t entries, uint32_t flags = 0) {
    return create_map(BPF_MAP_TYPE_PERF_EVENT_ARRAY, key, value, entries, flags);
  }
};
SKEP_CONTRACT(PerfEventArrayCommands);

TEST_P(PerfEventArrayCommands, Attributes) {
  EXPECT_GE(Fd(create(4, 4, 1)).get(), 0);
  EXPECT_GE(Fd(create(4, 4, 5000, BPF_F_PRESERVE_ELEMS)).get(), 0);
  EXPECT_GE(Fd(create(4, 4, 1, BPF_F_RDONLY)).get(), 0);
  EXPECT_EQ(create(8, 4, 1), -EINVAL);
  EXPECT_EQ(create(4, 8, 1), -EINVAL);
  EXPECT_EQ(create(4, 4, 0), -EINVAL);
  for (const uint32_t flag :
       {BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, BPF_F_INNER_MAP, BPF_F_NO_PREALLOC})
    EXPECT_EQ(create(4, 4, 1, flag), -EINVAL) << flag;
}

TEST_P(PerfEventArrayCommands, Elements) {
  const Fd map(create(4, 4, 2));
  uint32_t key = 0;
  uint32_t value = map.field();
  EXPECT_EQ(lookup(map, &key, &value), -kNotSupported);
  EXPECT_EQ(update(map, &key, &value), -EBADF);  // a map is no perf event
  value = 9999;
  EXPECT_EQ(update(map, &key, &value), -EBADF);
  EXPECT_EQ(update(map, &key, &value, BPF_NOEXIST), -EINVAL);
  EXPECT_EQ(update(map, &key, &value, BPF_EXIST), -EINVAL);
  EXPECT_EQ(erase(map, &key), -ENOENT);
  uint32_t next = 7;
  EXPECT_EQ(next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, 0U);
  EXPECT_EQ(next_key(map, &key, &next), 0);
  EXPECT_EQ(next, 1U);
  key = 2;
  EXPECT_EQ(update(map, &key, &value), -E2BIG);
  EXPECT_EQ(erase(map, &key), -E2BIG);
}

// libbpf's perf buffer.
class PerfBuffer : public RingContract {
 protected:
  struct Free {
    void operator()(perf_buffer* buffer) const { perf_buffer__free(buffer); }
  };

  static void take(void* to, int cpu, void* data, uint32_t size) {
    auto* self = static_cast<PerfBuffer*>(to);
    const auto* bytes = static_cast<const uint8_t*>(data);
    self->samples_.emplace_back(bytes, bytes + size);
    EXPECT_GE(cpu, 0);
  }
  static void lose(void* to, int /*cpu*/, unsigned long long count) {
    static_cast<PerfBuffer*>(to)->lost_ += count;
  }
  void open(size_t pages = 8) {
    buffer_.reset(perf_buffer__new(map("events"), pages, take, lose, this, nullptr));
    ASSERT_TRUE(buffer_) << errno;
  }
  int64_t output(uint64_t size, uint64_t flags = BPF_F_CURRENT_CPU) {
    set_number("size", size);
    set_number("flags", flags);
    return run("perf_output");
  }

  std::unique_ptr<perf_buffer, Free> buffer_;
  std::vector<std::vector<uint8_t>> samples_;
  uint64_t lost_ = 0;
};
SKEP_CONTRACT(PerfBuffer);

TEST_P(PerfBuffer, SamplesArePadded) {
  open();
  set("bytes", std::array<uint8_t, 6>{1, 2, 3, 4, 5, 6});
  EXPECT_EQ(output(6), 0);
  EXPECT_EQ(output(4), 0);
  EXPECT_EQ(output(0), 0);
  EXPECT_EQ(perf_buffer__consume(buffer_.get()), 0);
  ASSERT_EQ(samples_.size(), 3U);
  EXPECT_EQ(samples_[0], (std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(samples_[1], (std::vector<uint8_t>{1, 2, 3, 4}));
  EXPECT_EQ(samples_[2].size(), 4U);
}

TEST_P(PerfBuffer, PacketsComeBehindTheData) {
  open();
  set("bytes", std::array<uint8_t, 2>{7, 8});
  EXPECT_EQ(output(2, BPF_F_CURRENT_CPU | uint64_t{10} << 32), 0);
  EXPECT_EQ(output(2, BPF_F_CURRENT_CPU | uint64_t{50} << 32), 0);
  EXPECT_EQ(output(2, BPF_F_CURRENT_CPU | uint64_t{51} << 32), -EFAULT);  // 64 less the link-layer header
  perf_buffer__consume(buffer_.get());
  ASSERT_EQ(samples_.size(), 2U);
  EXPECT_EQ(samples_[0].size(), 12U);
  EXPECT_EQ(samples_[0][1], 8);
  EXPECT_EQ(samples_[1].size(), 52U);
}

TEST_P(PerfBuffer, Errors) {
  EXPECT_EQ(output(8), -ENOENT);
  EXPECT_EQ(output(8, 0xfffffffe), -E2BIG);
  EXPECT_EQ(output(8, BPF_F_CURRENT_CPU | uint64_t{1} << 52), -EINVAL);
  open();
  EXPECT_EQ(output(8), 0);
}

TEST_P(PerfBuffer, WhatIsLostIsCounted) {
  open(1);
  int64_t result = 0;
  unsigned fitted = 0;
  while ((result = output(500)) == 0) ++fitted;
  EXPECT_EQ(result, -ENOSPC);
  EXPECT_EQ(fitted, 7U);  // 512 bytes each, of 4095
  EXPECT_EQ(output(500), -ENOSPC);
  perf_buffer__consume(buffer_.get());
  EXPECT_EQ(samples_.size(), 7U);
  EXPECT_EQ(lost_, 0U);
  EXPECT_EQ(output(8), 0);
  perf_buffer__consume(buffer_.get());
  EXPECT_EQ(samples_.size(), 8U);
  EXPECT_EQ(lost_, 2U);
}

TEST_P(PerfBuffer, Polls) {
  open();
  EXPECT_EQ(perf_buffer__poll(buffer_.get(), 0), 0);
  for (unsigned round = 0; round < 100; ++round) {
    set_number("value", round);
    ASSERT_EQ(output(200), 0);
    ASSERT_EQ(perf_buffer__poll(buffer_.get(), 1000), 1) << round;
    ASSERT_EQ(samples_.size(), round + 1);
  }
  EXPECT_EQ(perf_buffer__poll(buffer_.get(), 0), 0);
}

}  // namespace
}  // namespace skep::test
