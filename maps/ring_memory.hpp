#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace skep::maps {

// The pages of a ring buffer as the kernel lays them out (struct bpf_ringbuf in kernel/bpf/ringbuf.c), in a
// memory file that user space maps: the consumer's page, the producer's page, the data, and the data's size
// once more. In the kernel the second half shows the first one's pages again. A file cannot do that, and it
// need not: everyone finds a record by its header, which never lies in the second half, and goes on from
// there in a straight line. What runs over the end of the first half is in the file's second one.
//
// In front of them is a page of our own, where the kernel has the part that user space never sees.
class RingMemory {
 public:
  static constexpr size_t kPage = 4096;
  // From a record's header to the front page, as the header counts it.
  static constexpr uint32_t kPagesBeforeData = 3;

  struct ConsumerPage {
    std::atomic<uint64_t> position;
  };
  struct ProducerPage {
    std::atomic<uint64_t> position;
    std::atomic<uint64_t> pending;  // where the oldest record begins that was not committed when one looked
    // Behind what the kernel has there: where the next record begins. On the line of the others, so that a
    // producer takes one line.
    std::atomic<uint64_t> reserved;
  };

  RingMemory() = default;
  // `size`: of the data, a multiple of the page. Empty when the memory is refused.
  static RingMemory create(size_t size);
  RingMemory(RingMemory&& other) noexcept
      : front_(std::exchange(other.front_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        descriptor_(std::exchange(other.descriptor_, -1)) {}
  RingMemory& operator=(RingMemory&& other) noexcept {
    std::swap(front_, other.front_);
    std::swap(size_, other.size_);
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~RingMemory();

  explicit operator bool() const { return front_ != nullptr; }
  std::byte* front() const { return front_; }
  ConsumerPage& consumer() const { return *reinterpret_cast<ConsumerPage*>(front_ + kPage); }
  ProducerPage& producer() const { return *reinterpret_cast<ProducerPage*>(front_ + 2 * kPage); }
  std::byte* data() const { return front_ + kPagesBeforeData * kPage; }
  size_t size() const { return size_; }
  int descriptor() const { return descriptor_; }

 private:
  RingMemory(std::byte* front, size_t size, int descriptor)
      : front_(front), size_(size), descriptor_(descriptor) {}
  static size_t mapped(size_t size) { return kPagesBeforeData * kPage + 2 * size; }

  std::byte* front_ = nullptr;
  size_t size_ = 0;
  int descriptor_ = -1;
};

}  // namespace skep::maps
