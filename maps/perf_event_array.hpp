#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "maps/map_in_map.hpp"
#include "maps/object_array.hpp"
#include "maps/perf_event.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_PERF_EVENT_ARRAY: perf events by index, as a rule each CPU's at its own number, into whose
// rings programs write. Semantics: perf_event_array_* in kernel/bpf/arraymap.c, __bpf_perf_event_output() in
// kernel/trace/bpf_trace.c.
class PerfEventArray final : public ObjectArray {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  using ObjectArray::ObjectArray;

  std::shared_ptr<const InnerTemplate> as_inner() const override {
    return std::make_shared<InnerTemplate>(InnerTemplate::of(spec(), false));
  }
  PerfEventArray* perf_events() override { return this; }
  // What a lookup could tell, the number of a perf event, nobody can use.
  int read(const void* key, void* value, uint64_t flags) override;
  // Begins to listen: where no event is, one with a ring is put, for each CPU of the machine. Then hands over
  // what came since. Events that user space put there are its own to read.
  long consume(RecordVisitor& visitor) override;

  // bpf_perf_event_output on CPU `cpu`; of `flags` the index alone is looked at.
  int output(uint64_t flags, unsigned cpu, std::span<const std::byte> data, std::span<const std::byte> more);

  // Empties the rings of the events that consume() put there.
  int clear() override;

 private:
  static constexpr size_t kRingPages = 64;  // of the events that consume() makes

  std::mutex listening_mutex_;
  std::vector<std::shared_ptr<PerfEvent>> listening_;
};

}  // namespace skep::maps
