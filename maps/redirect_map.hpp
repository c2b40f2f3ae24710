#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "maps/map.hpp"
#include "skep/error.hpp"

namespace skep::maps {

// Where bpf_redirect_map sends a packet: what an element of such a map stands for. Valid until the caller's
// epoch guard ends.
struct RedirectTarget {
  uint32_t index = 0;               // the device's ifindex, or the CPU's number
  std::shared_ptr<Object> program;  // run on the packet before it goes on; nullptr: none
};

enum class RedirectKind : uint8_t { kDevice, kCpu, kSocket };

// What the maps of bpf_redirect_map can do: DEVMAP, DEVMAP_HASH, CPUMAP, XSKMAP. Thread safety and guards as
// Map's.
class RedirectMap {
 public:
  virtual RedirectKind redirect_kind() const = 0;
  // The expected attach type of the programs that its elements may have; 0: they have none.
  virtual uint32_t entry_attach_type() const = 0;
  // The flags of bpf_redirect_map that it knows, besides the two low bits.
  virtual uint64_t redirect_flags() const = 0;

  // nullptr: no such element.
  virtual const RedirectTarget* target(uint32_t key) const = 0;
  // All of them, in the order of a broadcast.
  virtual std::vector<const RedirectTarget*> targets() const = 0;

  // The program of a descriptor, if the map may hold it. Errors as the kernel's.
  using ProgramFinder = std::function<Result<std::shared_ptr<Object>>(int descriptor)>;
  // BPF_MAP_UPDATE_ELEM: as Map::write(), with programs.
  virtual int write_entry(const void* key, const void* value, uint64_t flags,
                          const ProgramFinder& find_program) = 0;

 protected:
  ~RedirectMap() = default;
};

}  // namespace skep::maps
