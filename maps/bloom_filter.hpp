#pragma once

#include <atomic>

#include "maps/map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_BLOOM_FILTER: a set that may say of a value it has not got that it has. Semantics and sizes:
// kernel/bpf/bloom_filter.c; the hash is skep's own. Pushing and peeking are wait-free.
class BloomFilter final : public Map {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  BloomFilter(const MapSpec& spec, const MapEnvironment& environment, Mapping bits, uint64_t size);

  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int erase(const void* key) override;
  int next_key(const void* key, void* next) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;

  int push(const void* value, uint64_t flags, unsigned cpu) override;
  int pop(void* value, unsigned cpu) override;
  int peek(void* value) override;
  bool tests_values() const override { return true; }
  int clear() override;

 private:
  // Calls visit(word, bit) for each bit that stands for the value until that returns false; whether none did.
  template <class Visit>
  bool each_bit(const void* value, const Visit& visit) const;

  Mapping bits_;
  uint64_t mask_;
  uint64_t seed_;
  unsigned hashes_;
};

}  // namespace skep::maps
