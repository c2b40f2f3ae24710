#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "ring_fixture.hpp"

namespace skep::test {
namespace {

constexpr uint32_t kDiscard = BPF_RINGBUF_DISCARD_BIT;

class RingbufCommands : public Contract {};
SKEP_CONTRACT(RingbufCommands);

TEST_P(RingbufCommands, Attributes) {
  const auto create = [this](uint32_t key, uint32_t value, uint32_t entries, uint32_t flags = 0) {
    return Fd(create_map(BPF_MAP_TYPE_RINGBUF, key, value, entries, flags));
  };
  EXPECT_GE(create(0, 0, 4096).get(), 0);
  EXPECT_GE(create(0, 0, 1 << 20).get(), 0);
  EXPECT_EQ(create(4, 0, 4096).get(), -EINVAL);
  EXPECT_EQ(create(0, 4, 4096).get(), -EINVAL);
  for (const uint32_t entries : {0U, 1U, 2048U, 4095U, 12288U})
    EXPECT_EQ(create(0, 0, entries).get(), -EINVAL);
  for (const uint32_t flag : {BPF_F_NO_PREALLOC, BPF_F_RDONLY, BPF_F_WRONLY, BPF_F_RDONLY_PROG,
                              BPF_F_MMAPABLE, BPF_F_ZERO_SEED, BPF_F_INNER_MAP})
    EXPECT_EQ(create(0, 0, 4096, flag).get(), -EINVAL) << flag;
  EXPECT_GE(create(0, 0, 4096, BPF_F_NUMA_NODE).get(), 0);
}

TEST_P(RingbufCommands, ThereAreNoElements) {
  const Fd map(create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096));
  uint64_t word = 0;
  EXPECT_EQ(lookup(map, nullptr, &word), -kNotSupported);
  EXPECT_EQ(update(map, nullptr, &word), -kNotSupported);
  EXPECT_EQ(erase(map, nullptr), -kNotSupported);
  EXPECT_EQ(next_key(map, nullptr, &word), -kNotSupported);
  EXPECT_EQ(lookup(map, &word, &word), -EINVAL);
  EXPECT_EQ(update(map, &word, &word), -EINVAL);
  EXPECT_EQ(erase(map, &word), -EINVAL);
  EXPECT_EQ(next_key(map, &word, &word), -EINVAL);
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  attributes.value = pointer(&word);
  EXPECT_EQ(call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attributes), -kNotSupported);
  for (const int command :
       {BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH}) {
    bpf_attr batch{};
    batch.batch.map_fd = map.field();
    batch.batch.count = 1;
    EXPECT_EQ(call(command, batch), -kNotSupported) << command;
  }
}

TEST_P(RingbufCommands, FrozenWhenNobodyHasItMapped) {
  const Fd map(create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096));
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0);
  ASSERT_NE(page, MAP_FAILED);
  EXPECT_EQ(freeze(map), -EBUSY);
  munmap(page, 4096);
  EXPECT_EQ(freeze(map), 0);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
}

class Ringbuf : public RingContract {
 protected:
  int64_t output(uint64_t size, uint64_t flags = 0) {
    set_number("size", size);
    set_number("flags", flags);
    return run("output");
  }
  int64_t query(uint64_t what) {
    set_number("flags", what);
    return run("query");
  }
};
SKEP_CONTRACT(Ringbuf);

TEST_P(Ringbuf, RecordsLieAsTheKernelLaysThem) {
  const RingPages pages(map("ring"), kSize, false);
  ASSERT_TRUE(pages.mapped());
  std::array<uint8_t, 12> text{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  set("bytes", text);
  EXPECT_EQ(output(12), 0);
  EXPECT_EQ(pages.consumer(), 0U);
  EXPECT_EQ(pages.producer(), 24U);
  EXPECT_EQ(pages.at<uint32_t>(0), 12U);
  EXPECT_EQ(pages.at<uint32_t>(4), 3U);  // the pages from struct bpf_ringbuf to here
  EXPECT_EQ(pages.at<decltype(text)>(8), text);
  EXPECT_EQ(output(0), 0);
  EXPECT_EQ(pages.producer(), 32U);
  EXPECT_EQ(pages.at<uint32_t>(24), 0U);
  EXPECT_EQ(run("discard"), 1);
  EXPECT_EQ(pages.producer(), 64U);
  EXPECT_EQ(pages.at<uint32_t>(32), 24U | kDiscard);
  set_number("value", 100);
  EXPECT_EQ(run("submit"), 1);
  EXPECT_EQ(pages.at<uint32_t>(64), 24U);
  EXPECT_EQ(pages.at<uint64_t>(72), 100U);
  EXPECT_EQ(pages.at<uint64_t>(88), 102U);
  EXPECT_EQ(get<uint64_t>("second_result"), 96U);  // what is reserved counts as available
}

TEST_P(Ringbuf, FlagsAreChecked) {
  EXPECT_EQ(output(8, BPF_RB_NO_WAKEUP), 0);
  EXPECT_EQ(output(8, BPF_RB_FORCE_WAKEUP), 0);
  EXPECT_EQ(output(8, 4), -EINVAL);
  EXPECT_EQ(output(8, uint64_t{1} << 32), -EINVAL);
  set_number("flags", 1);
  EXPECT_EQ(run("submit"), 0);
  set_number("flags", 0);
  set_number("commit_flags", 0xff0);  // not looked at
  EXPECT_EQ(run("submit"), 1);
}

TEST_P(Ringbuf, Query) {
  EXPECT_EQ(query(BPF_RB_RING_SIZE), 4096);
  EXPECT_EQ(query(BPF_RB_AVAIL_DATA), 0);
  EXPECT_EQ(output(40), 0);
  EXPECT_EQ(output(3), 0);
  EXPECT_EQ(query(BPF_RB_AVAIL_DATA), 64);
  EXPECT_EQ(query(BPF_RB_PROD_POS), 64);
  EXPECT_EQ(query(BPF_RB_CONS_POS), 0);
  const RingPages pages(map("ring"), kSize, false);
  pages.consumer() = 48;
  EXPECT_EQ(query(BPF_RB_CONS_POS), 48);
  EXPECT_EQ(query(BPF_RB_AVAIL_DATA), 16);
  EXPECT_EQ(query(4), 0);
  EXPECT_EQ(query(uint64_t{1} << 40), 0);
}

TEST_P(Ringbuf, AFullRingTakesNoMore) {
  const RingPages pages(map("ring"), kSize, false);
  ASSERT_TRUE(pages.mapped());
  EXPECT_EQ(output(4089), -EAGAIN);
  EXPECT_EQ(output(4088), -EAGAIN);  // all of the ring
  EXPECT_EQ(run("reserve_all"), 0);
  EXPECT_EQ(run("reserve_most"), 1);
  EXPECT_EQ(output(0), -EAGAIN);
  pages.consumer() = 4088;
  // 80 bytes each, of 4095.
  for (unsigned n = 0; n < 51; ++n) ASSERT_EQ(output(65), 0) << n;
  EXPECT_EQ(output(65), -EAGAIN);
  EXPECT_EQ(output(0), 0);
  EXPECT_EQ(output(0), -EAGAIN);
}

TEST_P(Ringbuf, RecordsGoOnBehindTheEnd) {
  const RingPages pages(map("ring"), kSize, false);
  ASSERT_TRUE(pages.mapped());
  std::array<uint8_t, 200> text{};
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<uint8_t>(i + 1);
  set("bytes", text);
  EXPECT_EQ(output(4000), 0);
  pages.consumer() = 4008;
  EXPECT_EQ(output(200), 0);  // from 4008 to 4216
  EXPECT_EQ(pages.producer(), 4216U);
  EXPECT_EQ(pages.at<uint32_t>(4008), 200U);
  EXPECT_EQ(pages.at<decltype(text)>(4016), text);  // in a straight line
  EXPECT_EQ(pages.at<uint8_t>(0), 81);              // and from the beginning: 4096 - 4016 = 80 were before
  EXPECT_EQ(pages.at<uint8_t>(119), 200);
  EXPECT_EQ(output(8), 0);
  EXPECT_EQ(pages.at<uint32_t>(120), 8U);
  EXPECT_EQ(pages.at<uint32_t>(124), 3U);
}

TEST_P(Ringbuf, WhatTheConsumerSaysIsNotBelieved) {
  const RingPages pages(map("ring"), kSize, false);
  ASSERT_TRUE(pages.mapped());
  EXPECT_EQ(output(8), 0);
  // Ahead of the producer.
  pages.consumer() = 1 << 20;
  EXPECT_EQ(output(8), -EAGAIN);
  EXPECT_EQ(query(BPF_RB_AVAIL_DATA), 16 - (1 << 20));
  pages.consumer() = 16;
  EXPECT_EQ(output(8), 0);
}

TEST_P(Ringbuf, RecordsComeInTheOrderOfTheirReservation) {
  run("crosswise");
  const RingPages pages(map("ring"), kSize, false);
  EXPECT_EQ(pages.at<uint32_t>(0), 8U);
  EXPECT_EQ(pages.at<uint64_t>(8), 1U);
  EXPECT_EQ(pages.at<uint64_t>(24), 2U);
}

TEST_P(Ringbuf, Dynptrs) {
  const RingPages pages(map("ring"), kSize, false);
  ASSERT_TRUE(pages.mapped());
  set_number("size", 32);
  set_number("value", 0x1234);
  EXPECT_EQ(run("dynptr"), 0);
  EXPECT_EQ(get<int64_t>("second_result"), 0);
  EXPECT_EQ(get<uint64_t>("seen"), 0x1234U);
  EXPECT_EQ(get<uint64_t>("sum"), 1U);
  EXPECT_EQ(pages.at<uint32_t>(0), 32U);
  EXPECT_EQ(pages.at<uint64_t>(8), 77U);
  EXPECT_EQ(pages.at<uint64_t>(16), 0x1234U);
  set_number("stop_after", 1);
  EXPECT_EQ(run("dynptr"), 0);
  EXPECT_EQ(pages.at<uint32_t>(40), 32U | kDiscard);
  // Nothing is reserved: the dynptr is null, and everything refuses it.
  set_number("size", 1 << 24);
  EXPECT_EQ(run("dynptr"), -E2BIG);
  EXPECT_EQ(get<int64_t>("second_result"), -EINVAL);
  EXPECT_EQ(get<uint64_t>("sum"), 0U);
  set_number("size", 8192);
  EXPECT_EQ(run("dynptr"), -EINVAL);
  set_number("size", 8);
  set_number("flags", 1);
  EXPECT_EQ(run("dynptr"), -EINVAL);
  EXPECT_EQ(pages.producer(), 80U);
}

TEST_P(Ringbuf, DynptrsOverMemory) {
  run("local_dynptr");
  const RingPages pages(map("ring"), kSize, false);
  const std::array<int64_t, 8> expected{0, 0, -E2BIG, -EINVAL, -E2BIG, -EINVAL, 1, -EINVAL};
  EXPECT_EQ((pages.at<std::array<int64_t, 8>>(8)), expected);
}

// libbpf's own consumer.
class RingbufReader : public Ringbuf {
 protected:
  struct Free {
    void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
  };

  static int take(void* to, void* data, size_t size) {
    auto* self = static_cast<RingbufReader*>(to);
    const auto* bytes = static_cast<const uint8_t*>(data);
    self->records_.emplace_back(bytes, bytes + size);
    return self->answer_;
  }
  void open() {
    reader_.reset(ring_buffer__new(map("ring"), take, this, nullptr));
    ASSERT_TRUE(reader_) << errno;
  }
  int64_t send(uint8_t first, uint64_t flags = 0) {
    set("bytes", first);
    return output(5, flags);
  }

  std::unique_ptr<ring_buffer, Free> reader_;
  std::vector<std::vector<uint8_t>> records_;
  int answer_ = 0;
};
SKEP_CONTRACT(RingbufReader);

TEST_P(RingbufReader, Consumes) {
  open();
  EXPECT_EQ(ring_buffer__consume(reader_.get()), 0);
  for (uint8_t n = 1; n <= 3; ++n) EXPECT_EQ(send(n), 0);
  run("discard");
  EXPECT_EQ(ring_buffer__consume(reader_.get()), 3);
  ASSERT_EQ(records_.size(), 3U);
  for (uint8_t n = 1; n <= 3; ++n) EXPECT_EQ(records_[n - 1U], (std::vector<uint8_t>{n, 0, 0, 0, 0}));
  EXPECT_EQ(query(BPF_RB_AVAIL_DATA), 0);
}

TEST_P(RingbufReader, ConsumesManyRounds) {
  open();
  for (unsigned n = 0; n < 3000; ++n) {
    ASSERT_EQ(send(static_cast<uint8_t>(n)), 0) << n;
    if (n % 100 == 99) {
      ASSERT_EQ(ring_buffer__consume(reader_.get()), 100);
    }
  }
  ASSERT_EQ(records_.size(), 3000U);
  for (unsigned n = 0; n < 3000; ++n) EXPECT_EQ(records_[n][0], static_cast<uint8_t>(n));
}

TEST_P(RingbufReader, Polls) {
  open();
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 0);
  EXPECT_EQ(send(1), 0);
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 1);
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 0);
  // No wakeup: the record is there, and poll does not look.
  EXPECT_EQ(send(2, BPF_RB_NO_WAKEUP), 0);
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 0);
  EXPECT_EQ(send(3, BPF_RB_FORCE_WAKEUP), 0);
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 2);
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 0);
}

TEST_P(RingbufReader, PollSeesWhatWasThereBefore) {
  EXPECT_EQ(send(1, BPF_RB_NO_WAKEUP), 0);
  open();
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 1);
}

TEST_P(RingbufReader, PollComesBackToWhatIsLeft) {
  open();
  EXPECT_EQ(send(1), 0);
  EXPECT_EQ(send(2), 0);
  answer_ = -ECANCELED;
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), -ECANCELED);
  answer_ = 0;
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 1);
  EXPECT_EQ(ring_buffer__poll(reader_.get(), 0), 0);
}

TEST_P(RingbufReader, PollWaits) {
  open();
  std::thread sender([this] {
    std::optional<loader::LibbpfBinding> binding;
    if (machine_) binding.emplace(*machine_);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    send(9);
  });
  EXPECT_EQ(ring_buffer__poll(reader_.get(), -1), 1);
  sender.join();
}

}  // namespace
}  // namespace skep::test
