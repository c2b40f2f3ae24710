#pragma once

#include <cstdint>

namespace skep::tools {

// CPU time of the calling thread: what other threads do on its processor meanwhile is not in it.
uint64_t thread_nanoseconds();

}  // namespace skep::tools
