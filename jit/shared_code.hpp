#pragma once

#include "jit/trampoline.hpp"

namespace skep::jit {

// What the code of all programs of a mode goes through; a JIT makes it once.
struct SharedCode {
  Trampoline trampoline = nullptr;
  const void* access_search = nullptr;  // see jit/access_search.hpp; of checked mode
};

}  // namespace skep::jit
