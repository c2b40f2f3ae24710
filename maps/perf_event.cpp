#include "maps/perf_event.hpp"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

struct SampleHead {
  perf_event_header header;
  uint32_t size;  // of what follows, padding included
};
static_assert(sizeof(SampleHead) == 12);

struct LostRecord {
  perf_event_header header;
  uint64_t id;
  uint64_t lost;
};

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::atomic_ref<__u64> position(__u64& field) { return std::atomic_ref(field); }

}  // namespace

Result<std::shared_ptr<PerfEvent>> PerfEvent::create(unsigned cpu, uint32_t id) {
  const int file = memfd_create("[perf_event]", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return fail(ENOMEM, "there is no memory for a perf event");
  return std::shared_ptr<PerfEvent>(new PerfEvent(cpu, id, file));
}

PerfEvent::~PerfEvent() {
  if (ring_.page != nullptr) munmap(ring_.page, kPage + ring_.size);
  close(file_);
}

int PerfEvent::make_ring(size_t bytes) {
  if (bytes < 2 * kPage || bytes % kPage != 0 || !std::has_single_bit(bytes / kPage - 1)) return -EINVAL;
  // One maker; no lock, since where mmap(2) is watched for rings to be made we come here again from below.
  size_t known = 0;
  if (!asked_.compare_exchange_strong(known, bytes)) return bytes == known ? 0 : -EINVAL;
  void* pages = MAP_FAILED;
  if (ftruncate(file_, static_cast<off_t>(bytes)) == 0 &&
      fcntl(file_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0)
    pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_, 0);
  if (pages == MAP_FAILED) {
    asked_.store(0);
    return -ENOMEM;
  }
  auto* const page = static_cast<perf_event_mmap_page*>(pages);
  page->data_offset = kPage;
  page->data_size = bytes - kPage;
  ring_ = {page, static_cast<std::byte*>(pages) + kPage, bytes - kPage};
  // Release: pairs with the loads below.
  has_ring_.store(true, std::memory_order_release);
  return 0;
}

bool PerfEvent::ready() const {
  // Acquire: pairs with make_ring().
  if (!has_ring_.load(std::memory_order_acquire)) return false;
  // Acquire, as whoever reads the records.
  return position(ring_.page->data_head).load(std::memory_order_acquire) !=
         position(ring_.page->data_tail).load(std::memory_order_acquire);
}

void PerfEvent::put(const Ring& ring, uint64_t& at, std::span<const std::byte> bytes) {
  const uint64_t offset = at & (ring.size - 1);
  const size_t first = std::min<size_t>(bytes.size(), ring.size - offset);
  if (first != 0) std::memcpy(ring.data + offset, bytes.data(), first);
  if (first != bytes.size()) std::memcpy(ring.data, bytes.data() + first, bytes.size() - first);
  at += bytes.size();
}

void PerfEvent::take(const Ring& ring, uint64_t at, std::span<std::byte> bytes) {
  const uint64_t offset = at & (ring.size - 1);
  const size_t first = std::min<size_t>(bytes.size(), ring.size - offset);
  std::memcpy(bytes.data(), ring.data + offset, first);
  if (first != bytes.size()) std::memcpy(bytes.data() + first, ring.data, bytes.size() - first);
}

int PerfEvent::output(std::span<const std::byte> data, std::span<const std::byte> more) {
  if (!enabled_.load(std::memory_order_relaxed)) return -EOPNOTSUPP;  // see enable()
  // Acquire: pairs with make_ring().
  if (!has_ring_.load(std::memory_order_acquire)) return -ENOENT;
  const size_t payload = data.size() + more.size();
  const size_t padded = round_up_8(payload + sizeof(uint32_t)) - sizeof(uint32_t);
  const size_t sample = sizeof(SampleHead) + padded;
  if (sample > std::numeric_limits<uint16_t>::max()) return -E2BIG;
  const size_t needed = sample + (lost_ != 0 ? sizeof(LostRecord) : 0);
  // Acquire: pairs with the reader's release; he is done with what was there.
  const uint64_t tail = position(ring_.page->data_tail).load(std::memory_order_acquire);
  if (((tail - head_ - 1) & (ring_.size - 1)) < needed) {
    ++lost_;
    return -ENOSPC;
  }
  if (lost_ != 0) {
    put(ring_, head_, bytes_of(LostRecord{{PERF_RECORD_LOST, 0, sizeof(LostRecord)}, id_, lost_}));
    lost_ = 0;
  }
  put(ring_, head_,
      bytes_of(SampleHead{{PERF_RECORD_SAMPLE, PERF_RECORD_MISC_KERNEL, static_cast<uint16_t>(sample)},
                          static_cast<uint32_t>(padded)}));
  put(ring_, head_, data);
  put(ring_, head_, more);
  constexpr uint64_t kZeros = 0;
  put(ring_, head_, bytes_of(kZeros).first(padded - payload));
  // Release: pairs with the reader's acquire; he sees the records.
  position(ring_.page->data_head).store(head_, std::memory_order_release);
  ring();
  return 0;
}

long PerfEvent::consume(RecordVisitor& visitor) {
  // Acquire: pairs with make_ring().
  if (!has_ring_.load(std::memory_order_acquire)) return 0;
  // Relaxed: the reader's own.
  uint64_t tail = position(ring_.page->data_tail).load(std::memory_order_relaxed);
  // Acquire: pairs with output().
  const uint64_t head = position(ring_.page->data_head).load(std::memory_order_acquire);
  std::vector<std::byte> bytes;
  long count = 0;
  while (tail != head) {
    perf_event_header header{};
    take(ring_, tail, std::as_writable_bytes(std::span(&header, 1)));
    if (header.size < sizeof(SampleHead) || header.size > head - tail) return -EINVAL;
    bytes.resize(header.size);
    take(ring_, tail, bytes);
    if (header.type == PERF_RECORD_SAMPLE) {
      visitor.record(std::span(bytes).subspan(sizeof(SampleHead)), cpu_);
      ++count;
    } else if (header.type == PERF_RECORD_LOST && header.size >= sizeof(LostRecord)) {
      LostRecord lost{};
      std::memcpy(&lost, bytes.data(), sizeof lost);
      visitor.lost(lost.lost, cpu_);
    }
    tail += header.size;
    // Release: pairs with output(); the place may be used again.
    position(ring_.page->data_tail).store(tail, std::memory_order_release);
  }
  return count;
}

// Nobody else is here: no order is needed.
void PerfEvent::clear() {
  if (!has_ring_.load(std::memory_order_relaxed)) return;
  std::memset(ring_.data, 0, std::min(head_, ring_.size));
  head_ = 0;
  lost_ = 0;
  position(ring_.page->data_head).store(0, std::memory_order_relaxed);
  position(ring_.page->data_tail).store(0, std::memory_order_relaxed);
  settle();
}

}  // namespace skep::maps
