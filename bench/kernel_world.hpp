#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/map_rows.hpp"
#include "bench/map_world.hpp"
#include "skep/error.hpp"

struct bpf_object;  // libbpf's

namespace skep::bench {

// A program of maps.bpf.c or lru.bpf.c in the host's kernel, ready for one thread.
class KernelLane {
 public:
  KernelLane(int program, RingDrain ring) : program_(program), ring_(std::move(ring)) {}

  struct Run {
    uint32_t returned = 0;     // by the last run
    uint32_t nanoseconds = 0;  // of one run, the mean of all
  };
  // BPF_PROG_TEST_RUN: the kernel repeats the run and takes the time. Throws for errors.
  Run run(unsigned runs) const;

 private:
  int program_;
  RingDrain ring_;
};

// The same objects in the host's kernel, with the maps and programs of some rows only: the kernel pays for
// what is there.
class KernelWorld {
 public:
  KernelWorld(uint32_t entries, std::span<const OperationRow> rows);

  // Whether the kernel has the row's program; else why not.
  bool has(const OperationRow& row) const { return objects_.contains(object_of(row)); }
  const std::string& refusal(const OperationRow& row) const { return refusals_.at(object_of(row)); }

  void fill(const OperationRow& row);
  KernelLane lane(const OperationRow& row, const char* program) const;
  // Bytes that the kernel accounts to the map that a row is for; 0: it does not say.
  uint64_t map_bytes(const OperationRow& row) const;

 private:
  struct Closer {
    void operator()(bpf_object* object) const;
  };
  void open(const char* name, std::span<const OperationRow> rows);
  int map_descriptor(const OperationRow& row) const;

  uint32_t entries_;
  std::map<std::string, std::unique_ptr<bpf_object, Closer>> objects_;
  std::map<std::string, std::string> refusals_;
  std::vector<std::string> filled_;
};

}  // namespace skep::bench
