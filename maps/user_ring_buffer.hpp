#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "maps/doorbell.hpp"
#include "maps/map.hpp"
#include "maps/ring_memory.hpp"

namespace skep::maps {

// What drain() calls for each sample; returning anything but 0 ends the drain.
class SampleVisitor {
 public:
  virtual long sample(std::span<std::byte> bytes) = 0;

 protected:
  ~SampleVisitor() = default;
};

// BPF_MAP_TYPE_USER_RINGBUF (kernel/bpf/ringbuf.c): user space writes samples, a program drains them. The
// pages are a ring buffer's; producer's page and data are user space's to write, so nothing there is
// believed.
class UserRingBufferMap final : public Map, private Doorbell {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  UserRingBufferMap(const MapSpec& spec, const MapEnvironment& environment, RingMemory memory);

  int memory_descriptor() const override { return memory_.descriptor(); }
  UserRingBufferMap* user_ring_buffer() override { return this; }
  Doorbell* doorbell() override { return this; }

  // bpf_user_ringbuf_drain: the number of samples visited, at most 128 Ki of them; -EBUSY: another drain is
  // under way; -EINVAL, -E2BIG: a sample that cannot be.
  long drain(SampleVisitor& visitor, uint64_t flags);

  // Makes the map what it was when it was new, at the cost of what was written. Nobody uses it meanwhile.
  int clear() override;

 private:
  struct Sample {
    std::byte* begin = nullptr;
    uint32_t size = 0;
  };
  long next_sample(Sample& sample);
  long drain_all(SampleVisitor& visitor, long& seen);
  bool ready() const override;

  RingMemory memory_;
  const uint64_t mask_;
  std::atomic<bool> busy_{false};
};

}  // namespace skep::maps
