#include "vm/packet.hpp"

#include <cerrno>
#include <cstring>
#include <span>

#include "helpers/functions.hpp"

namespace skep::helpers {
namespace {

uint64_t adjust(vm::Cpu& cpu, long (vm::PacketContext::*move)(int32_t), uint64_t delta) {
  if (!cpu.packet_context) return error(EINVAL);
  return static_cast<uint64_t>(
      (cpu.packet_context->*move)(static_cast<int32_t>(static_cast<uint32_t>(delta))));
}

// The one's-complement sum of 32-bit words, folded to 32 bits.
uint32_t add_words(uint64_t address, uint64_t size, bool negate, uint64_t sum) {
  for (uint64_t i = 0; i < size; i += 4) {
    uint32_t word = 0;
    std::memcpy(&word, reinterpret_cast<const void*>(address + i), sizeof word);
    sum += negate ? ~word : word;
    sum = (sum & 0xffffffff) + (sum >> 32);
  }
  return static_cast<uint32_t>(sum);
}

}  // namespace

uint64_t xdp_adjust_head(uint64_t, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return adjust(cpu, &vm::PacketContext::adjust_head, r2);
}

uint64_t xdp_adjust_tail(uint64_t, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return adjust(cpu, &vm::PacketContext::adjust_tail, r2);
}

uint64_t xdp_adjust_meta(uint64_t, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return adjust(cpu, &vm::PacketContext::adjust_meta, r2);
}

// Outside the packet the buffer is zeroed, so that nothing uninitialised reaches the program.
uint64_t skb_load_bytes(uint64_t, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  auto* to = reinterpret_cast<void*>(r3);
  const auto size = static_cast<uint32_t>(r4);
  const auto offset = static_cast<uint32_t>(r2);
  const std::byte* from = cpu.packet_context ? cpu.packet_context->at(offset, size) : nullptr;
  if (!from) {
    std::memset(to, 0, size);
    return error(EFAULT);
  }
  std::memcpy(to, from, size);
  return 0;
}

uint64_t csum_diff(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, vm::Cpu&) {
  const auto from_size = static_cast<uint32_t>(r2);
  const auto to_size = static_cast<uint32_t>(r4);
  if (((from_size | to_size) & 3) != 0) return error(EINVAL);
  uint32_t sum = static_cast<uint32_t>(r5);
  sum = add_words(r1, from_size, true, sum);
  return add_words(r3, to_size, false, sum);
}

}  // namespace skep::helpers
