#pragma once

#include <cstddef>
#include <vector>

#include "skep/error.hpp"

namespace skep::loader {

// Rewrites the definitions of SEC("maps") (struct bpf_map_def of libbpf before 1.0, or any longer struct that
// begins so) to BTF maps in SEC(".maps"), which is all that libbpf still reads. Images without them stay as
// they are. EINVAL: a broken ELF file, or map definitions that libbpf would have refused.
Result<void> rewrite_legacy_maps(std::vector<std::byte>& image);

}  // namespace skep::loader
