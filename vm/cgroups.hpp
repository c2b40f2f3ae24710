#pragma once

#include <cstdint>
#include <vector>

namespace skep::vm {

// The calling thread's cgroup (of version 2), the one around it, and so on to the root of the hierarchy as
// far as it is mounted here: the numbers of their inodes. Read from /proc each time; empty where nothing can
// be known.
std::vector<uint64_t> cgroups_of_caller();

}  // namespace skep::vm
