#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "maps/element_pool.hpp"
#include "maps/map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// Words of a call chain, and of an element of a value that is kept with build ids (struct
// bpf_stack_build_id).
inline constexpr uint32_t kMaxStackDepth = 127;  // sysctl_perf_event_max_stack

// How many places of a chain fit in `size` bytes behind those that the flags skip, and these.
uint32_t max_stack_depth(uint32_t size, uint32_t element_size, uint64_t flags);
// Writes places as structures with build ids of none; `to`: as many struct bpf_stack_build_id.
void write_build_ids(std::span<const uint64_t> places, std::byte* to);

// BPF_MAP_TYPE_STACK_TRACE: call chains by the hash of what is in them, one per bucket. Semantics:
// kernel/bpf/stackmap.c; the hash is another.
//
// Chains are made whole and never changed; whoever reads one in a guard has it to the guard's end, so unlike
// the kernel's a chain is not absent while another thread reads it. All functions are lock-free, and the
// count of chains is exact: ENOMEM is given only while max_entries of them are there or on their way.
class StackTraceMap final : public Map {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  StackTraceMap(const MapSpec& spec, const MapEnvironment& environment);

  // bpf_get_stackid: keeps the chain, of which the flags skip the first places. The chain's id, or -EINVAL,
  // -EFAULT (nothing is left of it), -EEXIST (another chain has its bucket), -ENOMEM.
  long store(std::span<const uint64_t> chain, uint64_t flags, unsigned cpu);

  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int erase(const void* key) override;
  int erase_on(const void* key, unsigned cpu) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  int next_key(const void* key, void* next) override;
  int clear() override;
  StackTraceMap* stack_traces() override { return this; }

 private:
  // What stands before a chain in its element.
  struct Header {
    uint32_t hash = 0;
    uint32_t places = 0;
  };

  bool with_build_ids() const { return (spec().flags & BPF_F_STACK_BUILD_ID) != 0; }
  uint32_t place_size() const;
  std::atomic<Element*>& bucket(uint32_t id) const {
    return reinterpret_cast<std::atomic<Element*>*>(buckets_.data())[id];
  }
  Header& header(Element* element) const { return *reinterpret_cast<Header*>(pool_.value(element)); }
  std::byte* content(Element* element) const { return pool_.value(element) + sizeof(Header); }
  bool holds(Element* element, uint32_t hash, std::span<const uint64_t> places) const;
  bool take_count();
  int remove(const void* key, ElementPool::Cache& cache);
  void retire(Element* element, ElementPool::Cache& cache);

  ElementPool pool_;
  uint32_t mask_;
  Mapping buckets_;
  std::atomic<uint32_t> count_{0};  // of elements in buckets or on their way there
};

}  // namespace skep::maps
