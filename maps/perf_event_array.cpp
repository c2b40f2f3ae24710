#include "maps/perf_event_array.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "maps/attributes.hpp"

namespace skep::maps {

Result<std::shared_ptr<Map>> PerfEventArray::create(const MapSpec& spec, const MapEnvironment& environment) {
  auto storage = storage_for(spec);
  if (!storage) return std::unexpected(storage.error());
  return std::make_shared<PerfEventArray>(spec, environment, std::move(*storage));
}

int PerfEventArray::read(const void* /*key*/, void* /*value*/, uint64_t flags) {
  return check_read_flags(flags) != 0 ? -EINVAL : -kNotSupported;
}

int PerfEventArray::output(uint64_t flags, unsigned cpu, std::span<const std::byte> data,
                           std::span<const std::byte> more) {
  uint64_t index = flags & BPF_F_INDEX_MASK;
  if (index == BPF_F_CURRENT_CPU) index = cpu;
  if (index >= spec().max_entries) return -E2BIG;
  // Nothing but perf events is put there.
  auto* const event = static_cast<PerfEvent*>(peek_object(static_cast<uint32_t>(index)));
  if (event == nullptr) return -ENOENT;
  if (event->cpu() != cpu) return -EOPNOTSUPP;
  return event->output(data, more);
}

long PerfEventArray::consume(RecordVisitor& visitor) {
  const std::scoped_lock lock(listening_mutex_);
  for (uint32_t index = 0; listening_.empty() && index < std::min(spec().max_entries, cpus()); ++index) {
    if (peek_object(index) != nullptr) continue;
    auto event = PerfEvent::create(index, 0);
    if (!event) return -ENOMEM;
    if (const int bad = (*event)->make_ring((1 + kRingPages) * PerfEvent::kPage)) return bad;
    if (const int bad = set_object(index, *event)) return bad;
    listening_.push_back(std::move(*event));
  }
  long count = 0;
  for (const auto& event : listening_) {
    const long got = event->consume(visitor);
    if (got < 0) return got;
    count += got;
  }
  return count;
}

int PerfEventArray::clear() {
  for (const auto& event : listening_) event->clear();
  return 0;
}

}  // namespace skep::maps
