#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "helpers/functions.hpp"
#include "maps/map.hpp"
#include "maps/stack_trace_map.hpp"
#include "vm/cpu.hpp"

namespace skep::helpers {
namespace {

using ChainMemory = std::array<uint64_t, vm::kMaxFrames>;

// What is called from is a program; no user's stack is beneath it, as with the kernel's own threads.
std::span<const uint64_t> chain_of(const vm::Cpu& cpu, uint64_t flags, ChainMemory& memory) {
  if ((flags & BPF_F_USER_STACK) != 0) return {};
  return cpu.call_chain(memory);
}

// __bpf_get_stack without what is to be done when it fails.
long write_stack(const vm::Cpu& cpu, std::byte* to, uint32_t size, uint64_t flags) {
  constexpr uint64_t kKnown = BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_USER_BUILD_ID;
  const bool build_ids = (flags & BPF_F_USER_BUILD_ID) != 0;
  if ((flags & ~kKnown) != 0 || (build_ids && (flags & BPF_F_USER_STACK) == 0)) return -EINVAL;
  const uint32_t element = build_ids ? sizeof(bpf_stack_build_id) : sizeof(uint64_t);
  if (size % element != 0) return -EINVAL;
  ChainMemory memory{};
  auto chain = chain_of(cpu, flags, memory);
  chain = chain.first(std::min<size_t>(chain.size(), maps::max_stack_depth(size, element, flags)));
  const uint64_t skipped = flags & BPF_F_SKIP_FIELD_MASK;
  if (chain.size() < skipped) return -EFAULT;
  const auto places = chain.subspan(skipped);
  // A user's stack, which alone has build ids, has no places.
  if (!places.empty()) std::memcpy(to, places.data(), places.size_bytes());
  std::memset(to + places.size_bytes(), 0, size - places.size_bytes());
  return static_cast<long>(places.size_bytes());
}

}  // namespace

uint64_t get_stackid(uint64_t, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu& cpu) {
  maps::StackTraceMap* const traces = reinterpret_cast<maps::Map*>(r2)->stack_traces();
  if (traces == nullptr) return error(EINVAL);
  ChainMemory memory{};
  return static_cast<uint64_t>(traces->store(chain_of(cpu, r3, memory), r3, cpu.id()));
}

uint64_t get_stack(uint64_t, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  auto* const to = reinterpret_cast<std::byte*>(r2);
  const auto size = static_cast<uint32_t>(r3);
  const long written = write_stack(cpu, to, size, r4);
  if (written < 0 && size != 0) std::memset(to, 0, size);
  return static_cast<uint64_t>(written);
}

}  // namespace skep::helpers
