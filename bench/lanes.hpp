#pragma once

#include <sched.h>

#include <string>

#include "bench/anchors/anchor.hpp"
#include "bench/kernel_world.hpp"
#include "bench/map_rows.hpp"
#include "bench/map_world.hpp"

// The benchmarks that bench_maps is made of: a program, or an anchor's loop, on so many threads at once.
namespace skep::bench {

// Whether so many threads have a processor each.
bool has_processors(int threads);

// Holds a thread on a processor of its own: the n-th of those that the process may use.
class Pin {
 public:
  explicit Pin(int n);
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  ~Pin();

 private:
  cpu_set_t before_;
};

// How many operations a run of the row's program, or of its loop, is for.
uint64_t operations_of(const OperationRow& row, const char* program, uint32_t entries);

// The registered benchmarks' names, to find their timings by.
std::string skep_name(const char* program, uint32_t entries, int threads);
std::string kernel_name(const char* program, uint32_t entries, int threads);
std::string anchor_name(const Anchor& anchor, AnchorOperation operation, int threads);

// Each runs the program once and throws if it does not do what it is for.
void register_skep(MapWorld& world, const OperationRow& row, const char* program, uint32_t entries,
                   int threads);
void register_kernel(KernelWorld& world, const OperationRow& row, const char* program, uint32_t entries,
                     int threads);
void register_anchor(Anchor& anchor, AnchorOperation operation, uint32_t entries, int threads);

}  // namespace skep::bench
