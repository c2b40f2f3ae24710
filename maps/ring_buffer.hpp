#pragma once

#include <linux/bpf.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "maps/doorbell.hpp"
#include "maps/map.hpp"
#include "maps/mapping.hpp"
#include "maps/ring_memory.hpp"

namespace skep::maps {

// What stands before each record's bytes.
struct RecordHeader {
  uint32_t length;       // of the bytes behind it; the two highest bits are BPF_RINGBUF_*_BIT
  uint32_t page_offset;  // pages from the front page's to the header's
};
static_assert(sizeof(RecordHeader) == BPF_RINGBUF_HDR_SZ);

// The checks of a ring's attributes, whoever writes to it.
Result<void> check_ring(const MapSpec& spec);

// BPF_MAP_TYPE_RINGBUF (kernel/bpf/ringbuf.c): programs on any CPU write records, user space reads them in
// the order in which they were reserved.
//
// Where the kernel's producers take a spin lock, ours claim their place by one exchange of `reserved` and go
// on without waiting. A producer that stops before it has committed its record holds back the consumer, as it
// does in the kernel, and no producer.
//
// Beside the pages that user space sees is a table of stamps, one for each 8 bytes of data: where a record
// begins stands where it ends, and whether it was committed. Positions only grow, so a stamp left over from
// an earlier round is never taken for one of this. All that producers must know of each other's records they
// read there: nothing that user space could overwrite decides where they write, but for the consumer's
// position, and that is held against `pending`.
class RingBufferMap final : public Map, private Doorbell {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  RingBufferMap(const MapSpec& spec, const MapEnvironment& environment, RingMemory memory, Mapping stamps);

  int memory_descriptor() const override { return memory_.descriptor(); }
  RingBufferMap* ring_buffer() override { return this; }
  Doorbell* doorbell() override { return this; }
  long consume(RecordVisitor& visitor) override;

  // Room for a record, or nullptr: it does not fit now, or never will.
  std::byte* reserve(uint64_t size);
  // Ends what reserve() began. `flags`: BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP; others are not looked at.
  void commit(std::byte* record, uint64_t flags, bool discard);
  // bpf_ringbuf_output: 0, -EINVAL or -EAGAIN.
  int output(const void* record, uint64_t size, uint64_t flags);
  // bpf_ringbuf_query.
  uint64_t query(uint64_t flags) const;
  // The ring buffer that a record was reserved in.
  static RingBufferMap& of_record(const std::byte* record);

  // Makes the map what it was when it was new, at the cost of what was written. Nobody uses it meanwhile.
  int clear() override;

 private:
  using Stamp = std::atomic<uint64_t>;
  static constexpr uint64_t kCommitted = 1;  // stamps are multiples of 8 otherwise

  bool ready() const override { return query(BPF_RB_AVAIL_DATA) != 0; }
  Stamp& stamp(uint64_t position) const {
    return reinterpret_cast<Stamp*>(stamps_.data())[(position & mask_) / BPF_RINGBUF_HDR_SZ];
  }
  std::byte* at(uint64_t position) const { return memory_.data() + (position & mask_); }
  bool has_room(uint64_t end);
  uint64_t advance_pending(uint64_t pending);
  uint64_t publish_ready(uint64_t from);
  void note_tail(uint64_t offset, uint64_t length);

  RingMemory memory_;
  Mapping stamps_;
  const uint64_t mask_;
  // How far records ever ran into the second half; for clear().
  std::atomic<uint64_t> longest_tail_{0};
};

}  // namespace skep::maps
