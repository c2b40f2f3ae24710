#include "maps/user_ring_buffer.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/ring_buffer.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

constexpr long kMaxSamples = 128 * 1024;         // BPF_MAX_USER_RINGBUF_SAMPLES
constexpr uint32_t kMaxSample = (1U << 24) - 1;  // DYNPTR_MAX_SIZE
constexpr uint64_t kWakeupFlags = BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP;
constexpr uint32_t kHeaderFlags = BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT;

uint64_t length_of_record(uint32_t size) { return round_up_8(size + sizeof(RecordHeader)); }

}  // namespace

Result<std::shared_ptr<Map>> UserRingBufferMap::create(const MapSpec& spec,
                                                       const MapEnvironment& environment) {
  if (auto checked = check_ring(spec); !checked) return std::unexpected(checked.error());
  RingMemory memory = RingMemory::create(spec.max_entries);
  if (!memory) return fail(ENOMEM, "there is no memory for the ring buffer");
  return std::make_shared<UserRingBufferMap>(spec, environment, std::move(memory));
}

UserRingBufferMap::UserRingBufferMap(const MapSpec& spec, const MapEnvironment& environment,
                                     RingMemory memory)
    : Map(spec, environment),
      Doorbell(Side::kWritable),
      memory_(std::move(memory)),
      mask_(spec.max_entries - 1) {}

bool UserRingBufferMap::ready() const {
  // Acquire, as the kernel's poll: positions behind which samples are.
  const uint64_t consumed = memory_.consumer().position.load(std::memory_order_acquire);
  return memory_.producer().position.load(std::memory_order_acquire) - consumed <= mask_;
}

// The next sample. -ENODATA: there is none yet. -EAGAIN: it was discarded, and is passed over.
long UserRingBufferMap::next_sample(Sample& sample) {
  // Acquire: pairs with the release of the producer in user space.
  const uint64_t produced = memory_.producer().position.load(std::memory_order_acquire);
  if (produced % 8 != 0) return -EINVAL;
  auto& consumer = memory_.consumer().position;
  // Acquire: pairs with the release of the drain before, by whichever CPU.
  const uint64_t consumed = consumer.load(std::memory_order_acquire);
  if (consumed >= produced) return -ENODATA;
  std::byte* const header = memory_.data() + (consumed & mask_ & ~uint64_t{7});
  // Acquire: pairs with user space's commit; the sample's bytes are written.
  const uint32_t bits =
      std::atomic_ref(reinterpret_cast<RecordHeader*>(header)->length).load(std::memory_order_acquire);
  const uint32_t size = bits & ~kHeaderFlags;
  const uint64_t length = length_of_record(size);
  if (length > produced - consumed) return -EINVAL;
  if (length > mask_ + 1 || size > kMaxSample) return -E2BIG;
  if ((bits & BPF_RINGBUF_DISCARD_BIT) != 0) {
    // Release: pairs with user space's acquire, which then reuses the place.
    consumer.store(consumed + length, std::memory_order_release);
    return -EAGAIN;
  }
  if ((bits & BPF_RINGBUF_BUSY_BIT) != 0) return -ENODATA;
  sample = {memory_.data() + ((consumed + sizeof(RecordHeader)) & mask_ & ~uint64_t{7}), size};
  return 0;
}

long UserRingBufferMap::drain_all(SampleVisitor& visitor, long& seen) {
  long discarded = 0;
  long stop = 0;
  for (seen = 0; seen < kMaxSamples && stop == 0; ++seen) {
    Sample sample;
    const long found = next_sample(sample);
    if (found == -EAGAIN) {
      ++discarded;
      continue;
    }
    if (found == -ENODATA) break;
    if (found != 0) return found;
    stop = visitor.sample({sample.begin, sample.size});
    auto& consumer = memory_.consumer().position;
    // Relaxed: busy_ keeps others away. Release: pairs with user space's acquire, as above.
    consumer.store(consumer.load(std::memory_order_relaxed) + length_of_record(sample.size),
                   std::memory_order_release);
  }
  return seen - discarded;
}

long UserRingBufferMap::drain(SampleVisitor& visitor, uint64_t flags) {
  if ((flags & ~kWakeupFlags) != 0) return -EINVAL;
  // Acquire: pairs with the release below; this drain begins where the last one ended.
  if (busy_.exchange(true, std::memory_order_acquire)) return -EBUSY;
  long seen = 0;
  const long result = drain_all(visitor, seen);
  busy_.store(false, std::memory_order_release);
  if ((flags & BPF_RB_FORCE_WAKEUP) != 0 || ((flags & BPF_RB_NO_WAKEUP) == 0 && seen > 0)) ring();
  return result;
}

// What user space wrote where is not known: the file's pages are given back, which costs by how many there
// are.
int UserRingBufferMap::clear() {
  // Relaxed: nobody else is here.
  if (memory_.producer().position.load(std::memory_order_relaxed) == 0) return 0;
  fallocate(memory_.descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
            static_cast<off_t>(2 * (RingMemory::kPage + memory_.size())));
  settle();
  return 0;
}

}  // namespace skep::maps
