#include "maps/value_fields.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "maps/value_copy.hpp"

namespace skep::maps {

uint32_t field_size(FieldKind kind) {
  switch (kind) {
    case FieldKind::kSpinLock:
    case FieldKind::kRefcount:
      return 4;
    case FieldKind::kPointer:
    case FieldKind::kUntrustedPointer:
    case FieldKind::kPerCpuPointer:
      return 8;
    case FieldKind::kTimer:
    case FieldKind::kWorkQueue:
    case FieldKind::kListHead:
    case FieldKind::kTreeRoot:
      return 16;
  }
  return 0;
}

uint32_t field_alignment(FieldKind kind) { return std::min(field_size(kind), 8U); }

ValueFields::ValueFields(std::span<const ValueField> fields) : count_(std::min(fields.size(), kMaxFields)) {
  std::ranges::copy(fields.first(count_), fields_.begin());
  for (const ValueField& field : all()) kinds_.add(field.kind);
}

const ValueField* ValueFields::find(FieldKind kind) const {
  const auto found = std::ranges::find(all(), kind, &ValueField::kind);
  return found == all().end() ? nullptr : &*found;
}

std::optional<ValueFields::Gap> ValueFields::gap_around(uint64_t offset, uint64_t size,
                                                        uint32_t value_size) const {
  Gap gap{0, value_size};
  for (const ValueField& field : all()) {
    if (field.end() <= offset) {
      gap.begin = field.end();
    } else {
      if (field.offset < offset + size) return std::nullopt;
      gap.end = field.offset;
      break;
    }
  }
  return gap;
}

void copy_between_fields(const ValueFields& fields, void* to, const void* from, size_t bytes) {
  size_t at = 0;
  const auto copy_until = [&](size_t end) {
    copy_value_relaxed(static_cast<std::byte*>(to) + at, static_cast<const std::byte*>(from) + at, end - at);
  };
  for (const ValueField& field : fields.all()) {
    copy_until(field.offset);
    at = field.end();
  }
  copy_until(bytes);
}

void init_fields(const ValueFields& fields, void* value) {
  for (const ValueField& field : fields.all()) {
    std::byte* at = static_cast<std::byte*>(value) + field.offset;
    std::memset(at, 0, field.size);
    if (field.kind == FieldKind::kRefcount) at[0] = std::byte{1};
  }
}

void release_fields(const ValueFields& fields, void* value, TimerKeeper* timers) {
  for (const ValueField& field : fields.all()) {
    std::byte* at = static_cast<std::byte*>(value) + field.offset;
    if (field.kind == FieldKind::kTimer && timers != nullptr) timers->release(at);
    // Relaxed: nothing is behind the pointer that would have to be let go of.
    if (kPointerFields.has(field.kind))
      std::atomic_ref(*reinterpret_cast<uint64_t*>(at)).store(0, std::memory_order_relaxed);
  }
}

bool SpinLock::try_lock(uint32_t owner) {
  uint32_t free = 0;
  // Acquire: pairs with the release of unlock(); what the last owner wrote is seen.
  return std::atomic_ref(*word_).compare_exchange_strong(free, owner, std::memory_order_acquire,
                                                         std::memory_order_relaxed);
}

void SpinLock::lock(uint32_t owner) {
  for (unsigned n = 0; !try_lock(owner); ++n) pause(n);
}

void SpinLock::unlock() { std::atomic_ref(*word_).store(0, std::memory_order_release); }

bool SpinLock::is_held_by(uint32_t owner) const {
  return std::atomic_ref(*word_).load(std::memory_order_relaxed) == owner;
}

void SpinLock::pause(unsigned n) {
  constexpr unsigned kSpins = 64;
  // The owner may be a thread that the host does not run.
  if (n % kSpins == kSpins - 1)
    std::this_thread::yield();
  else
    __builtin_ia32_pause();
}

void copy_locked(const ValueFields& fields, void* to, const void* from, size_t bytes, void* locked) {
  SpinLock lock(static_cast<std::byte*>(locked) + fields.find(FieldKind::kSpinLock)->offset);
  lock.lock(SpinLock::kCommand);
  copy_between_fields(fields, to, from, bytes);
  lock.unlock();
}

}  // namespace skep::maps
