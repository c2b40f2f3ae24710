#pragma once

#include "maps/map.hpp"
#include "maps/spare_nodes.hpp"

namespace skep::maps {

// What QUEUE and STACK share: values without keys, of which max_entries fit. Semantics:
// kernel/bpf/queue_stack_maps.c and the commands in syscall.c, where a lookup is a peek, an update a push,
// and a lookup with deletion a pop.
//
// Pushing and popping are lock-free, from CPUs and user space alike: a thread that is stopped anywhere stops
// no other. Both are linearizable, and so is a push that takes the place of the oldest value of a full map.
class KeylessMap : public Map {
 public:
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int erase(const void* key) override;
  int next_key(const void* key, void* next) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  int read_and_erase(const void* key, void* value, uint64_t flags) override;

  int push(const void* value, uint64_t flags, unsigned cpu) override;
  int pop(void* value, unsigned cpu) override;

 protected:
  KeylessMap(const MapSpec& spec, const MapEnvironment& environment, uint64_t first_spare);

  static Result<void> check(const MapSpec& spec);
  // Slots in the ring: a power of two above max_entries, since a push into a full map writes its value before
  // the oldest is gone.
  static uint64_t ring_size(const MapSpec& spec);
  // The answer of an empty map, whose value is zeroes.
  int empty(void* value) const;

  virtual int push_node(const void* value, bool overwrite, SpareNodes::Claim& spare) = 0;
  virtual int pop_node(void* value, SpareNodes::Claim& spare) = 0;

 private:
  int push_from(SpareNodes::Claim spare, const void* value, uint64_t flags);
  int pop_from(SpareNodes::Claim spare, void* value);

  SpareNodes spares_;
};

}  // namespace skep::maps
