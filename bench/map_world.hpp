#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/map_rows.hpp"
#include "skep/machine.hpp"

namespace skep::bench {

// A ring buffer's positions in its memory, as the kernel lays it out and skep does: records that nobody looks
// at are taken out of it by moving the consumer's.
class RingDrain {
 public:
  RingDrain() = default;
  explicit RingDrain(int descriptor);
  RingDrain(RingDrain&& other) noexcept;
  RingDrain& operator=(RingDrain&& other) noexcept;
  ~RingDrain();
  void drain() const;

 private:
  std::byte* pages_ = nullptr;
};

// A program of maps.bpf.c or lru.bpf.c, ready for one thread.
class SkepLane {
 public:
  SkepLane(Runner runner, RingDrain ring) : runner_(std::move(runner)), ring_(std::move(ring)) {}
  // Runs it so many times; the sum of what it returned. Throws for a fault.
  uint64_t run(unsigned runs);

 private:
  Runner runner_;
  RingDrain ring_;
};

// A machine with the objects in it.
class MapWorld {
 public:
  MapWorld(uint32_t entries, unsigned cpus);

  // Whether skep has the row's map; else why not.
  bool has(const OperationRow& row) const { return objects_.contains(object_of(row)); }
  const std::string& refusal(const OperationRow& row) const { return refusals_.at(object_of(row)); }

  // Fills the map that a row is for, if it was not yet.
  void fill(const OperationRow& row);
  // A row's program, or that of its loop, on a CPU.
  SkepLane lane(const OperationRow& row, const char* program, unsigned cpu) const;
  Program program(const OperationRow& row, const char* program) const;

 private:
  void open(const char* name);

  uint32_t entries_;
  Machine machine_;
  std::map<std::string, Object> objects_;
  std::map<std::string, std::string> refusals_;
  std::vector<std::string> filled_;
};

}  // namespace skep::bench
