#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "maps/doorbell.hpp"
#include "maps/map.hpp"

struct perf_event_mmap_page;

namespace skep::maps {

// The perf event of a simulated CPU that takes what programs there write with bpf_perf_event_output: a
// software event of PERF_COUNT_SW_BPF_OUTPUT with PERF_SAMPLE_RAW. Its pages are a memory file laid out as
// the kernel lays out what it maps (struct perf_event_mmap_page, then the data, which records wrap around
// in). Until somebody maps them there is no ring, and records go nowhere. Source:
// kernel/events/ring_buffer.c.
//
// One thread drives a CPU at a time, so a ring has one producer, and nothing waits.
class PerfEvent final : public Object, public Doorbell {
 public:
  static constexpr size_t kPage = 4096;

  // ENOMEM: there is no memory file to be had.
  static Result<std::shared_ptr<PerfEvent>> create(unsigned cpu, uint32_t id);
  ~PerfEvent() override;

  uint32_t id() const override { return id_; }
  unsigned cpu() const { return cpu_; }
  int descriptor_of_pages() const { return file_; }
  // Makes the ring, before whoever maps it does: `bytes` is what he maps. 0; -EINVAL: not one page and a
  // power of two of them, or there is a ring of another size. -ENOMEM.
  int make_ring(size_t bytes);

  // A disabled event takes nothing. Relaxed: records carry no order against it.
  void enable(bool yes) { enabled_.store(yes, std::memory_order_relaxed); }

  // A sample of two pieces, one behind the other. Called on the event's CPU. 0; -EOPNOTSUPP: it is disabled;
  // -ENOENT: there is no ring; -ENOSPC: it is full, which is counted and said in the ring when there is room
  // again; -E2BIG: a record's size is 16 bits.
  int output(std::span<const std::byte> data, std::span<const std::byte> more);

  // Takes out what is there. There may be one reader.
  long consume(RecordVisitor& visitor);

  // Makes the ring empty and its positions 0. Nobody uses it meanwhile.
  void clear();

 private:
  PerfEvent(unsigned cpu, uint32_t id, int file)
      : Doorbell(Side::kReadable), cpu_(cpu), id_(id), file_(file) {}

  // What is mapped, once it is.
  struct Ring {
    perf_event_mmap_page* page = nullptr;
    std::byte* data = nullptr;
    uint64_t size = 0;
  };
  bool ready() const override;
  static void put(const Ring& ring, uint64_t& at, std::span<const std::byte> bytes);
  static void take(const Ring& ring, uint64_t at, std::span<std::byte> bytes);

  const unsigned cpu_;
  const uint32_t id_;
  const int file_;
  std::atomic<size_t> asked_{0};  // what is mapped, or about to be
  Ring ring_;
  // Release: `ring_` is made; acquired by whoever looks at it.
  std::atomic<bool> has_ring_{false};
  std::atomic<bool> enabled_{true};
  // The producer's alone.
  uint64_t head_ = 0;
  uint64_t lost_ = 0;
};

}  // namespace skep::maps
