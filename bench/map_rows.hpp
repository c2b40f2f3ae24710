#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace skep::bench {

// The programs of maps.bpf.c and lru.bpf.c and the maps they are for: what is measured here and in the
// kernel.

// As in maps.bpf.h.
inline constexpr uint64_t kOperations = 256;
inline constexpr uint32_t kPrefixes = 50000;

inline constexpr uint32_t kEntryCounts[] = {1024, 65536, 1048576, 16777216};

// How keys are made of numbers.
enum class Keys : uint8_t {
  kNumber,  // the number, 4 bytes
  kWide,    // 16 bytes
  kPrefix,  // of IPv4 addresses, for LPM_TRIE
  kNone,
};

struct MapRow {
  const char* name;
  const char* object;  // the file that has it
  Keys keys;
  unsigned part = 1;  // a map is filled with 1 / part of its entries
};

struct OperationRow {
  const char* program;
  const char* label;
  const char* map;
  const char* loop =
      "loop";  // the program whose time is that of the loop alone; nullptr: nothing to take off
  // How often a program is run before a ring buffer is emptied; and as often in the kernel's
  // BPF_PROG_TEST_RUN.
  unsigned runs = 16;
  bool whole_map = false;  // a run is an operation on each element, else kOperations
};

std::span<const MapRow> map_rows();
const MapRow& map_row(const char* name);
std::span<const OperationRow> operation_rows();
// Those of bench_maps --growth.
std::span<const OperationRow> growth_rows();
const char* object_of(const OperationRow& row);

// How many elements a map is filled with, and the bytes of the key of each; the value is the number, in 8
// bytes.
uint32_t elements_of(const MapRow& row, uint32_t entries);
void make_key(Keys keys, uint32_t number, std::span<std::byte> key);

}  // namespace skep::bench
