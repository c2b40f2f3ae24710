#include <linux/bpf.h>

#include <cerrno>
#include <cstddef>
#include <span>

#include "helpers/functions.hpp"
#include "maps/perf_event_array.hpp"
#include "vm/cpu.hpp"
#include "vm/packet.hpp"

namespace skep::helpers {

// bpf_xdp_event_output and bpf_skb_event_output for programs that run on packets: the flags' bits 32 to 51
// say how much of the packet comes behind the data. bpf_perf_event_output for others.
uint64_t perf_event_output(uint64_t, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, vm::Cpu& cpu) {
  constexpr unsigned kPacketShift = 32;
  maps::PerfEventArray* const events = reinterpret_cast<maps::Map*>(r2)->perf_events();
  const vm::PacketContext* const packet = cpu.packet_context;
  const uint64_t known = packet != nullptr ? BPF_F_CTXLEN_MASK | BPF_F_INDEX_MASK : BPF_F_INDEX_MASK;
  if (events == nullptr || (r3 & ~known) != 0) return error(EINVAL);
  const uint64_t length = (r3 & BPF_F_CTXLEN_MASK) >> kPacketShift;
  const std::byte* const bytes = length != 0 ? packet->at(0, length) : nullptr;
  if (length != 0 && bytes == nullptr) return error(EFAULT);
  const std::span data(reinterpret_cast<const std::byte*>(r4), r5);
  return static_cast<uint64_t>(int64_t{events->output(r3, cpu.id(), data, {bytes, length})});
}

}  // namespace skep::helpers
