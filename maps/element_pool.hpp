#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "maps/epoch.hpp"
#include "maps/map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// An element of a keyed map. The key follows the header, and the value follows the key or, for a per-CPU map,
// lies in the chunk's per-CPU rows. Made once when its chunk is first used, and never destroyed: only handed
// round.
//
// The chains are made by hand, not with Boost.Intrusive, because readers walk them while writers change them:
// the links must be atomic.
struct Element {
  // The next element of the chain, as a number because the table keeps a lock bit in the first link of each
  // chain. Left as it is when the element is unlinked: who stands on it must find the way out.
  std::atomic<uintptr_t> next{0};
  // The next element in a list of the pool, hence not `next`.
  std::atomic<Element*> link{nullptr};
  uint32_t hash = 0;
};

// Where the values of a per-CPU element are: rows of all elements' values, one row per CPU.
struct CpuValues {
  std::byte* first = nullptr;
  size_t stride = 0;  // from one CPU's value to the next CPU's
};

// Storage of elements, all of one size, given out and taken back by many threads at once.
//
// Guarantees
//  - Memory is zero when it is given out for the first time, and committed no earlier.
//  - A retired element is given out again only after every guard that could reach it has ended.
//  - While the host has memory acquire() succeeds, also when all that is free still waits for its epoch: then
//    the pool grows by a chunk.
//  - No operation waits for another thread.
//  - Addresses stay mapped while the pool lives.
// All functions but the constructor are called inside a guard of the domain, except value_containing().
// What threads contend for lies on lines of its own, hence the padding.
class ElementPool {
 public:
  struct Layout {
    uint32_t key_size = 0;
    uint32_t value_size = 0;
    unsigned cpu_values = 0;  // values per element in per-CPU rows; 0: one value, beside the key
  };

  // `capacity` elements are reserved at once; 0 reserves as elements are needed. Check reserved() afterwards.
  ElementPool(EpochDomain& epochs, const Layout& layout, uint64_t capacity);
  ElementPool(const ElementPool&) = delete;
  ElementPool& operator=(const ElementPool&) = delete;
  // Nobody uses the pool any more.
  ~ElementPool();

  // Whether the memory asked for in the constructor was there.
  bool reserved() const { return reserved_; }

  // An element that nobody else can see, with the contents it had; nullptr when there is no memory.
  Element* acquire();
  // Takes back an element after it was unlinked; readers may still be on it.
  void retire(Element* element);

  std::byte* key(Element* element) const { return reinterpret_cast<std::byte*>(element) + sizeof(Element); }
  const std::byte* key(const Element* element) const {
    return reinterpret_cast<const std::byte*>(element) + sizeof(Element);
  }
  std::byte* value(Element* element) const { return reinterpret_cast<std::byte*>(element) + value_offset_; }
  std::byte* value(const Element* element, unsigned cpu) const {
    const auto* values =
        reinterpret_cast<const CpuValues*>(reinterpret_cast<const std::byte*>(element) + value_offset_);
    return values->first + values->stride * cpu;
  }
  // Bytes of a value with its padding.
  size_t value_stride() const { return value_stride_; }

  // The value that holds the address, be its element in use or not. Callable at any time.
  MemoryRange value_containing(uintptr_t address) const;

  // How many chunks there are; the pool's growth, for tests.
  size_t chunks() const;

 private:
  // Chunks double in size, so this many are enough for any address space.
  static constexpr size_t kMaxChunks = 48;
  static constexpr uint64_t kMinChunk = 16;
  // A power of two of lists for retired elements, by the epoch of their retirement.
  static constexpr size_t kBags = 8;

  struct Chunk {
    Mapping memory;
    Mapping rows;  // per-CPU values
    uint64_t count = 0;
    size_t cpu_stride = 0;
    std::atomic<uint64_t> used{0};
  };

  Element* pop_free();
  void push_free(Element* first);
  Element* recycle();
  Element* take_unused();
  Element* construct(Chunk& chunk, uint64_t index) const;
  bool grow();
  std::unique_ptr<Chunk> make_chunk(uint64_t count) const;

  EpochDomain& epochs_;
  size_t value_offset_;
  size_t value_size_;
  size_t value_stride_;
  size_t element_stride_;
  unsigned cpu_values_;
  uint32_t recycle_threshold_;
  bool reserved_ = true;

  std::array<std::atomic<Chunk*>, kMaxChunks> chunks_{};
  alignas(64) std::atomic<Element*> free_{nullptr};
  alignas(64) std::array<std::atomic<Element*>, kBags> bags_{};
  std::atomic<uint32_t> retired_{0};  // since the last attempt to recycle
};

}  // namespace skep::maps
