#pragma once

#include <cstdint>

#include "maps/map.hpp"
#include "maps/redirect_map.hpp"

namespace skep::vm {

// Where the helpers said that the packet is to go; per CPU, and carried out after the program has returned
// (the kernel's struct bpf_redirect_info). The target is valid as long as the run's epoch guard.
struct RedirectInfo {
  enum class Kind : uint8_t {
    kNone,       // no helper has said anything
    kDevice,     // by ifindex
    kTarget,     // an element of a map
    kBroadcast,  // all elements of a map
  };

  Kind kind = Kind::kNone;
  uint32_t index = 0;  // the ifindex, or the key
  uint64_t flags = 0;
  maps::RedirectMap* map = nullptr;
  const maps::RedirectTarget* target = nullptr;
};

}  // namespace skep::vm
