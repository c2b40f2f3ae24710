#include "maps/ring_buffer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

constexpr uint64_t kMaxRecord = UINT_MAX / 4;  // RINGBUF_MAX_RECORD_SZ
constexpr uint64_t kWakeupFlags = BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP;
constexpr uint32_t kHeaderFlags = BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT;

std::atomic_ref<uint32_t> length_of(std::byte* header) {
  return std::atomic_ref(reinterpret_cast<RecordHeader*>(header)->length);
}

}  // namespace

Result<void> check_ring(const MapSpec& spec) {
  if ((spec.flags & ~uint32_t{BPF_F_NUMA_NODE}) != 0)
    return fail(EINVAL,
                fmt::format("map_flags {:#x}: a ring buffer has none but BPF_F_NUMA_NODE", spec.flags));
  if (spec.key_size != 0 || spec.value_size != 0)
    return fail(EINVAL, "a ring buffer has no keys and no values");
  if (!std::has_single_bit(spec.max_entries) || spec.max_entries % RingMemory::kPage != 0)
    return fail(EINVAL, fmt::format("max_entries {}: a ring buffer's size is a power of two and whole pages",
                                    spec.max_entries));
  return {};
}

Result<std::shared_ptr<Map>> RingBufferMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check_ring(spec); !checked) return std::unexpected(checked.error());
  RingMemory memory = RingMemory::create(spec.max_entries);
  Mapping stamps = Mapping::anonymous(spec.max_entries);
  if (!memory || !stamps) return fail(ENOMEM, "there is no memory for the ring buffer");
  return std::make_shared<RingBufferMap>(spec, environment, std::move(memory), std::move(stamps));
}

RingBufferMap::RingBufferMap(const MapSpec& spec, const MapEnvironment& environment, RingMemory memory,
                             Mapping stamps)
    : Map(spec, environment),
      Doorbell(Side::kReadable),
      memory_(std::move(memory)),
      stamps_(std::move(stamps)),
      mask_(spec.max_entries - 1) {
  new (memory_.front()) RingBufferMap*(this);
}

RingBufferMap& RingBufferMap::of_record(const std::byte* record) {
  const std::byte* header = record - sizeof(RecordHeader);
  const uintptr_t page = reinterpret_cast<uintptr_t>(header) / RingMemory::kPage * RingMemory::kPage;
  const uintptr_t front =
      page - size_t{reinterpret_cast<const RecordHeader*>(header)->page_offset} * RingMemory::kPage;
  return **reinterpret_cast<RingBufferMap* const*>(front);
}

// Whether a record that ends at `end` leaves alone what the consumer has not read, and what is not committed:
// the consumer's position is user space's word.
bool RingBufferMap::has_room(uint64_t end) {
  // Acquire: pairs with the consumer's release. What he read of the records before it he has read.
  if (end - memory_.consumer().position.load(std::memory_order_acquire) > mask_) return false;
  // Acquire: pairs with the exchange in advance_pending(). The records before it are done with.
  const uint64_t pending = memory_.producer().pending.load(std::memory_order_acquire);
  return end - pending <= mask_ || end - advance_pending(pending) <= mask_;
}

// Moves `pending` over the records that were committed, and returns where it is.
uint64_t RingBufferMap::advance_pending(uint64_t pending) {
  auto& producer = memory_.producer();
  while (true) {
    uint64_t reached = pending;
    // Acquire: pairs with the release by which positions are published. Records before it have their stamps.
    const uint64_t limit = producer.position.load(std::memory_order_acquire);
    while (reached < limit) {
      // Acquire: pairs with commit(). Whoever writes over a record that we pass comes after its owner.
      const uint64_t stamped = stamp(reached).load(std::memory_order_acquire);
      const uint64_t end = stamped & ~kCommitted;
      if ((stamped & kCommitted) == 0 || end <= reached) break;
      reached = end;
    }
    // If another thread moved it meanwhile, stamps may be those of the next round, and ours is to fail.
    // Release: hands on what the stamps told. Acquire: takes what another one hands on.
    if (reached == pending ||
        producer.pending.compare_exchange_strong(pending, reached, std::memory_order_acq_rel))
      return reached;
  }
}

void RingBufferMap::note_tail(uint64_t offset, uint64_t length) {
  if (offset + length <= mask_ + 1) return;
  const uint64_t tail = offset + length - (mask_ + 1);
  // Relaxed: a maximum that clear() alone reads, when everyone is gone.
  uint64_t longest = longest_tail_.load(std::memory_order_relaxed);
  while (longest < tail && !longest_tail_.compare_exchange_weak(longest, tail, std::memory_order_relaxed)) {
  }
}

std::byte* RingBufferMap::reserve(uint64_t size) {
  if (size > kMaxRecord) return nullptr;
  const uint64_t length = round_up_8(size + sizeof(RecordHeader));
  if (length > mask_) return nullptr;
  auto& producer = memory_.producer();
  // Relaxed: the exchange decides, and what the room depends on is loaded after it.
  uint64_t begin = producer.reserved.load(std::memory_order_relaxed);
  while (true) {
    if (!has_room(begin + length)) {
      // The answer is about this place only if nobody took it meanwhile.
      const uint64_t now = producer.reserved.load(std::memory_order_relaxed);
      if (now == begin) return nullptr;
      begin = now;
      continue;
    }
    // Relaxed: it hands over nothing but the place. That its bytes are free was acquired in has_room(), and
    // `pending` does not go back.
    if (producer.reserved.compare_exchange_weak(begin, begin + length, std::memory_order_relaxed)) break;
  }
  const uint64_t end = begin + length;
  std::byte* const header = at(begin);
  const uint64_t offset = begin & mask_;
  reinterpret_cast<RecordHeader*>(header)->page_offset =
      RingMemory::kPagesBeforeData + static_cast<uint32_t>(offset / RingMemory::kPage);
  // Relaxed: the consumer gets here by the producer's position, which is released below or by who acquires
  // the stamp.
  length_of(header).store(static_cast<uint32_t>(size) | BPF_RINGBUF_BUSY_BIT, std::memory_order_relaxed);
  note_tail(offset, length);
  // If all before it is published, this thread alone can publish this record: it has no stamp yet. Acquire
  // and release: who acquires our position sees the headers before it as well as ours.
  if (producer.position.load(std::memory_order_acquire) == begin)
    producer.position.store(end, std::memory_order_release);
  // Release: pairs with publish_ready(); the header is written, and the store above is done.
  stamp(begin).store(end, std::memory_order_release);
  return header + sizeof(RecordHeader);
}

// Publishes the records that could not be when they were reserved, since one before them was not. Returns how
// far the ring is published.
//
// Each producer comes here after it committed its record, and both its own stamp and those it looks at are
// written and read in the one order of sequentially consistent operations. Of two records one behind the
// other, whoever's commit is later in that order sees the other's stamp. So when the last of any records in a
// row is committed, all of them are published.
uint64_t RingBufferMap::publish_ready(uint64_t from) {
  auto& position = memory_.producer().position;
  while (true) {
    const uint64_t end = stamp(from).load() & ~kCommitted;
    if (end <= from) return from;
    // Release: the header that the stamp, acquired, tells of. On failure `from` becomes where others got to.
    if (position.compare_exchange_strong(from, end, std::memory_order_acq_rel)) from = end;
  }
}

void RingBufferMap::commit(std::byte* record, uint64_t flags, bool discard) {
  std::byte* const header = record - sizeof(RecordHeader);
  const auto offset = static_cast<uint64_t>(header - memory_.data());
  Stamp& own = stamp(offset);
  // Relaxed: of this record, whose owner comes from reserve().
  const uint64_t end = own.load(std::memory_order_relaxed);
  const uint64_t begin = end - ((end - offset) & mask_);
  const uint64_t tail_end = offset + (end - begin);
  // To readers who fold positions instead of reading on, the end of a record is at the ring's beginning, as
  // it is in the kernel. That place is the record's, too.
  if (tail_end > mask_ + 1) std::memcpy(memory_.data(), memory_.data() + mask_ + 1, tail_end - (mask_ + 1));
  const auto length = length_of(header);
  const uint32_t bits = length.load(std::memory_order_relaxed) & ~kHeaderFlags;
  // Release: pairs with the consumer's acquire; he sees the record's bytes.
  length.store(discard ? bits | BPF_RINGBUF_DISCARD_BIT : bits, std::memory_order_release);
  // Sequentially consistent for publish_ready(). Release is in it: see advance_pending().
  own.exchange(end | kCommitted);
  // Relaxed: as far as we know; the stamps and exchanges there decide.
  const uint64_t published = memory_.producer().position.load(std::memory_order_relaxed);
  const uint64_t reached = publish_ready(published);
  // The consumer waits where it found no record, or one that was not committed. After the exchange, as in the
  // kernel; what settles the doorbell looks at the ring again after it made it quiet.
  const uint64_t consumed = memory_.consumer().position.load(std::memory_order_acquire);
  const bool waits_for_others = consumed - published < reached - published && consumed != begin;
  const bool waits_for_this = (consumed & mask_) == offset && (flags & BPF_RB_NO_WAKEUP) == 0;
  if (waits_for_others || waits_for_this || (flags & BPF_RB_FORCE_WAKEUP) != 0) ring();
}

int RingBufferMap::output(const void* record, uint64_t size, uint64_t flags) {
  if ((flags & ~kWakeupFlags) != 0) return -EINVAL;
  std::byte* const room = reserve(size);
  if (room == nullptr) return -EAGAIN;
  std::memcpy(room, record, size);
  commit(room, flags, false);
  return 0;
}

uint64_t RingBufferMap::query(uint64_t flags) const {
  // Acquire, as the kernel: what is asked for is a position behind which records are.
  const auto consumed = [this] { return memory_.consumer().position.load(std::memory_order_acquire); };
  const auto produced = [this] { return memory_.producer().position.load(std::memory_order_acquire); };
  switch (flags) {
    case BPF_RB_AVAIL_DATA: {
      const uint64_t begin = consumed();
      return produced() - begin;
    }
    case BPF_RB_RING_SIZE:
      return mask_ + 1;
    case BPF_RB_CONS_POS:
      return consumed();
    case BPF_RB_PROD_POS:
      return produced();
    default:
      return 0;
  }
}

long RingBufferMap::consume(RecordVisitor& visitor) {
  auto& consumer = memory_.consumer().position;
  long count = 0;
  // The one consumer's own position.
  uint64_t position = consumer.load(std::memory_order_relaxed);
  // Acquire: pairs with the release by which it is published.
  while (memory_.producer().position.load(std::memory_order_acquire) != position) {
    std::byte* const header = at(position);
    // Acquire: pairs with commit().
    const uint32_t bits = length_of(header).load(std::memory_order_acquire);
    if ((bits & BPF_RINGBUF_BUSY_BIT) != 0) break;
    const uint64_t size = bits & ~kHeaderFlags;
    // No record is longer than the ring, unless somebody has written over it who may not.
    if (size > mask_) return -EINVAL;
    if ((bits & BPF_RINGBUF_DISCARD_BIT) == 0) {
      visitor.record({header + sizeof(RecordHeader), size}, kNoCpu);
      ++count;
    }
    position += round_up_8(size + sizeof(RecordHeader));
    // Release: pairs with has_room(); we are done with the record.
    consumer.store(position, std::memory_order_release);
  }
  return count;
}

// Nobody else is here: no order is needed.
int RingBufferMap::clear() {
  auto& producer = memory_.producer();
  const uint64_t written = std::min(producer.reserved.load(std::memory_order_relaxed), mask_ + 1);
  std::memset(memory_.data(), 0, written);
  std::memset(memory_.data() + mask_ + 1, 0, longest_tail_.load(std::memory_order_relaxed));
  std::memset(stamps_.data(), 0, written);
  longest_tail_.store(0, std::memory_order_relaxed);
  for (auto* position :
       {&memory_.consumer().position, &producer.position, &producer.pending, &producer.reserved})
    position->store(0, std::memory_order_relaxed);
  settle();
  return 0;
}

}  // namespace skep::maps
