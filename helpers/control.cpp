#include <cerrno>

#include "helpers/functions.hpp"
#include "vm/cpu.hpp"

namespace skep::helpers {

// bpf_loop: the number of iterations done.
uint64_t loop(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  const auto iterations = static_cast<uint32_t>(r1);
  if (r4 != 0) return error(EINVAL);
  if (iterations > vm::kMaxLoops) return error(E2BIG);
  for (uint32_t i = 0; i < iterations; ++i) {
    const uint64_t r0 = cpu.call_back(r2, {i, r3, 0, 0, 0});
    if (r0 != 0 || cpu.stopped()) return i + 1;
  }
  return iterations;
}

}  // namespace skep::helpers
