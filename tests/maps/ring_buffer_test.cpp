// Many producers at once, and a consumer that reads the pages as libbpf does.
#include "maps/ring_buffer.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

class RingBufferTest : public MapTest {
 protected:
  RingBufferMap& make(uint32_t size) {
    map_ = create(BPF_MAP_TYPE_RINGBUF, 0, 0, size);
    return *map_->ring_buffer();
  }
  std::shared_ptr<Map> map_;
};

// A record says who wrote it, and the how manieth of his it is; its bytes say the same throughout.
struct Message {
  uint32_t producer;
  uint32_t number;
};

size_t size_of(const Message& message) {
  return sizeof(Message) * (1 + (message.number * 7 + message.producer) % 12);
}

bool intact(std::span<const std::byte> bytes) {
  const auto first = load<Message>(bytes.data());
  if (bytes.size() != size_of(first)) return false;
  for (size_t at = 0; at < bytes.size(); at += sizeof(Message))
    if (std::memcmp(bytes.data() + at, &first, sizeof first) != 0) return false;
  return true;
}

// A reader with mappings of its own, as libbpf's: nothing but positions and headers tells it where records
// are.
class MappedReader {
 public:
  MappedReader(int file, size_t size)
      : size_(size),
        consumer_(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)),
        producer_(mmap(nullptr, 4096 + 2 * size, PROT_READ, MAP_SHARED, file, 4096)) {}
  MappedReader(const MappedReader&) = delete;
  MappedReader& operator=(const MappedReader&) = delete;
  ~MappedReader() {
    munmap(consumer_, 4096);
    munmap(producer_, 4096 + 2 * size_);
  }

  template <class Take>
  unsigned consume(Take take) {
    auto* const consumed = static_cast<uint64_t*>(consumer_);
    uint64_t position = __atomic_load_n(consumed, __ATOMIC_ACQUIRE);
    unsigned count = 0;
    while (position != __atomic_load_n(static_cast<uint64_t*>(producer_), __ATOMIC_ACQUIRE)) {
      const auto* header = static_cast<std::byte*>(producer_) + 4096 + (position & (size_ - 1));
      const uint32_t length = __atomic_load_n(reinterpret_cast<const uint32_t*>(header), __ATOMIC_ACQUIRE);
      if ((length & BPF_RINGBUF_BUSY_BIT) != 0) break;
      const uint32_t bytes = length & ~BPF_RINGBUF_DISCARD_BIT;
      if ((length & BPF_RINGBUF_DISCARD_BIT) == 0) take(std::span(header + 8, bytes));
      position += (bytes + 8 + 7) / 8 * 8;
      __atomic_store_n(consumed, position, __ATOMIC_RELEASE);
      ++count;
    }
    return count;
  }

 private:
  size_t size_;
  void* consumer_;
  void* producer_;
};

void produce(RingBufferMap& ring, uint32_t producer, uint32_t count, std::atomic<uint64_t>& discarded) {
  for (uint32_t number = 0; number < count; ++number) {
    const Message message{producer, number};
    const size_t size = size_of(message);
    std::byte* record = nullptr;
    while ((record = ring.reserve(size)) == nullptr) std::this_thread::yield();
    for (size_t at = 0; at < size; at += sizeof message) std::memcpy(record + at, &message, sizeof message);
    const bool discard = number % 16 == 15;
    if (discard) discarded.fetch_add(1);
    // Some hold their records for a while.
    if (number % 64 == producer) std::this_thread::yield();
    ring.commit(record, 0, discard);
  }
}

TEST_F(RingBufferTest, ManyProducersLoseNothingAndKeepTheirOrder) {
  constexpr uint32_t kProducers = 6;
  constexpr uint32_t kEach = 20'000;
  for (const uint32_t size : {4096U, 65536U}) {
    RingBufferMap& ring = make(size);
    MappedReader reader(ring.memory_descriptor(), size);
    std::atomic<uint64_t> discarded{0};
    std::vector<std::jthread> producers;
    for (uint32_t p = 0; p < kProducers; ++p)
      producers.emplace_back([&ring, &discarded, p] { produce(ring, p, kEach, discarded); });
    std::array<uint32_t, kProducers> next{};
    uint64_t kept = 0;
    uint64_t all = 0;
    while (all < uint64_t{kProducers} * kEach) {
      const unsigned got = reader.consume([&](std::span<const std::byte> bytes) {
        ASSERT_TRUE(intact(bytes));
        const auto message = load<Message>(bytes.data());
        ASSERT_LT(message.producer, kProducers);
        ASSERT_GE(message.number, next[message.producer]);
        next[message.producer] = message.number + 1;
        ++kept;
      });
      if (got == 0) std::this_thread::yield();
      all += got;
    }
    producers.clear();
    EXPECT_EQ(kept + discarded, uint64_t{kProducers} * kEach);
    EXPECT_EQ(discarded, uint64_t{kProducers} * (kEach / 16));
    EXPECT_EQ(ring.query(BPF_RB_AVAIL_DATA), 0U);
  }
}

TEST_F(RingBufferTest, AStoppedProducerHoldsBackTheConsumerAlone) {
  RingBufferMap& ring = make(4096);
  MappedReader reader(ring.memory_descriptor(), 4096);
  const auto ignore = [](std::span<const std::byte>) {};
  std::byte* const held = ring.reserve(8);
  for (unsigned n = 0; n < 200; ++n) ASSERT_EQ(ring.output(&n, sizeof n, 0), 0) << n;
  EXPECT_EQ(reader.consume(ignore), 0U);
  ring.commit(held, 0, false);
  EXPECT_EQ(reader.consume(ignore), 201U);
}

TEST_F(RingBufferTest, WhatIsNotCommittedIsNotOverwritten) {
  RingBufferMap& ring = make(4096);
  std::byte* const held = ring.reserve(8);
  std::memset(held, 0x5a, 8);
  uint64_t word = 0;
  while (ring.output(&word, sizeof word, 0) == 0) ++word;
  // The consumer lies: nothing was read.
  const uint64_t position = ring.query(BPF_RB_PROD_POS);
  ASSERT_EQ(pwrite(ring.memory_descriptor(), &position, sizeof position, 0), 8);
  EXPECT_EQ(ring.output(&word, sizeof word, 0), -EAGAIN);
  EXPECT_EQ(held[7], std::byte{0x5a});
  ring.commit(held, 0, true);
  EXPECT_EQ(ring.output(&word, sizeof word, 0), 0);
}

class Count final : public RecordVisitor {
 public:
  void record(std::span<const std::byte> bytes, unsigned cpu) override {
    EXPECT_EQ(cpu, kNoCpu);
    sizes.push_back(bytes.size());
  }
  std::vector<size_t> sizes;
};

TEST_F(RingBufferTest, ConsumesInPlace) {
  RingBufferMap& ring = make(4096);
  const std::array<std::byte, 100> bytes{};
  for (unsigned n = 0; n < 1000; ++n) {
    ASSERT_EQ(ring.output(bytes.data(), n % 101, 0), 0);
    Count count;
    EXPECT_EQ(ring.consume(count), 1);
    EXPECT_EQ(count.sizes, std::vector<size_t>{n % 101});
  }
}

TEST_F(RingBufferTest, ClearedItIsAsNew) {
  RingBufferMap& ring = make(4096);
  std::array<std::byte, 3000> bytes;
  bytes.fill(std::byte{0xff});
  Count count;
  for (const size_t size : {3000U, 2000U, 100U}) {
    EXPECT_EQ(ring.output(bytes.data(), size, 0), 0);
    ring.consume(count);
  }
  ring.clear();
  std::vector<std::byte> image(4 * 4096, std::byte{1});
  ASSERT_EQ(pread(ring.memory_descriptor(), image.data(), image.size(), 0),
            static_cast<ssize_t>(image.size()));
  EXPECT_EQ(image, std::vector<std::byte>(4 * 4096));
  EXPECT_EQ(ring.output(bytes.data(), 8, 0), 0);
  EXPECT_EQ(ring.query(BPF_RB_PROD_POS), 16U);
  Count again;
  EXPECT_EQ(ring.consume(again), 1);
}

TEST_F(RingBufferTest, SealedAgainstShrinking) {
  RingBufferMap& ring = make(4096);
  EXPECT_EQ(ftruncate(ring.memory_descriptor(), 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST_F(RingBufferTest, TooLargeForTheHost) {
  const auto made = create_map(make_spec(BPF_MAP_TYPE_RINGBUF, 0, 0, 1U << 31), environment_);
  if (memory_limit() < uint64_t{1} << 31) {
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, ENOMEM);
  } else {
    EXPECT_TRUE(made.has_value());
  }
}

}  // namespace
}  // namespace skep::maps
