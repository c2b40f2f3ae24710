#include "bench/map_rows.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string_view>

namespace skep::bench {
namespace {

constexpr const char* kMaps = "maps";
constexpr const char* kLru = "lru";

constexpr MapRow kMapRows[] = {
    {"array", kMaps, Keys::kNumber},
    {"percpu_array", kMaps, Keys::kNumber},
    {"hash", kMaps, Keys::kNumber},
    {"hash_wide", kMaps, Keys::kWide},
    {"hash_as_needed", kMaps, Keys::kNumber},
    {"percpu_hash", kMaps, Keys::kNumber},
    {"trie", kMaps, Keys::kPrefix},
    {"queue", kMaps, Keys::kNone},
    {"ring", kMaps, Keys::kNone},
    {"lru", kLru, Keys::kNumber, 2},
    {"lru_full", kLru, Keys::kNumber},
};

constexpr OperationRow kOperationRows[] = {
    {"array_lookup", "array lookup", "array"},
    {"percpu_array_lookup", "percpu_array lookup", "percpu_array"},
    {"array_update", "array update", "array"},
    {"lookup", "hash lookup, 4-byte key", "hash"},
    {"lookup_wide", "hash lookup, 16-byte key", "hash_wide", "loop_wide"},
    {"replace", "hash replace", "hash"},
    {"reinsert", "hash delete + insert", "hash"},
    {"reinsert_as_needed", "the same, NO_PREALLOC", "hash_as_needed"},
    {"percpu_lookup", "percpu_hash lookup", "percpu_hash"},
    {"percpu_update", "percpu_hash update", "percpu_hash"},
    {"lru_lookup", "lru_hash lookup", "lru"},
    {"lru_update", "lru_hash update", "lru"},
    {"lru_insert", "lru_hash insert, evicting", "lru_full"},
    {"lpm_lookup", "lpm_trie lookup, 50000 prefixes", "trie", "loop_prefix"},
    {"queue_push_pop", "queue push + pop", "queue"},
    // Records take 72 bytes each: two CPUs have room for six runs each.
    {"ring_output", "ringbuf output, 64 bytes", "ring", "loop", 6},
    {"ring_reserve", "ringbuf reserve + submit, 64 bytes", "ring", "loop", 6},
    {"array_walk", "for_each of array, an element", "array", nullptr, 1, true},
    {"walk", "for_each of hash, an element", "hash", nullptr, 1, true},
};

constexpr OperationRow kGrowthRows[] = {
    {"lookup", "hash lookup", "hash"},
    {"replace", "hash replace", "hash"},
    {"reinsert", "hash delete + insert", "hash"},
};

}  // namespace

std::span<const MapRow> map_rows() { return kMapRows; }
std::span<const OperationRow> operation_rows() { return kOperationRows; }
std::span<const OperationRow> growth_rows() { return kGrowthRows; }

const MapRow& map_row(const char* name) {
  const auto* row = std::ranges::find(kMapRows, std::string_view(name), &MapRow::name);
  if (row == std::end(kMapRows)) throw std::logic_error("a row names no map");
  return *row;
}

const char* object_of(const OperationRow& row) { return map_row(row.map).object; }

uint32_t elements_of(const MapRow& row, uint32_t entries) {
  switch (row.keys) {
    case Keys::kNone:
      return 0;
    case Keys::kPrefix:
      return kPrefixes;
    case Keys::kNumber:
    case Keys::kWide:
      break;
  }
  return entries / row.part;
}

void make_key(Keys keys, uint32_t number, std::span<std::byte> key) {
  std::array<uint32_t, 4> words{number, 0, number, 1};
  if (keys == Keys::kPrefix) {
    // Lengths 16 to 32, half of them 24 as in routing tables. Bytes in network order; see maps.bpf.c.
    const uint32_t length = number % 2 == 0 ? 24 : 16 + number / 2 % 17;
    words[0] = length;
    words[1] = std::byteswap(number * 2654435761U & (UINT32_MAX << (32 - length)));
  }
  std::memcpy(key.data(), words.data(), key.size());
}

}  // namespace skep::bench
