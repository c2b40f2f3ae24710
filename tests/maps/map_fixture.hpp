#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "maps/epoch.hpp"
#include "maps/map.hpp"

namespace skep::maps {

inline MapSpec make_spec(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t max_entries,
                         uint32_t flags = 0) {
  MapSpec spec;
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  return spec;
}

// A machine's worth of what maps need, and a guard for a test that drives everything from one thread.
class MapTest : public testing::Test {
 protected:
  static constexpr unsigned kCpus = 4;

  std::shared_ptr<Map> create(const MapSpec& spec) {
    auto made = create_map(spec, environment_);
    EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().message);
    return made ? *made : nullptr;
  }
  std::shared_ptr<Map> create(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t max_entries,
                              uint32_t flags = 0) {
    return create(make_spec(type, key_size, value_size, max_entries, flags));
  }

  EpochDomain epochs_{kCpus};
  MapEnvironment environment_{.cpus = kCpus, .epochs = &epochs_, .hash_seed = 12345};
};

// A visitor made of a function.
class Visit final : public ElementVisitor {
 public:
  explicit Visit(std::function<long(const void*, void*)> function) : function_(std::move(function)) {}
  long visit(const void* key, void* value) override { return function_(key, value); }

 private:
  std::function<long(const void*, void*)> function_;
};

template <class T>
T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Programs' reads and writes of a value while other threads do the same.
inline uint64_t load_relaxed(const void* from) {
  return __atomic_load_n(static_cast<const uint64_t*>(from), __ATOMIC_RELAXED);
}

}  // namespace skep::maps
