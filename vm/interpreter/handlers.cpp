#include "vm/interpreter/handlers.hpp"

#include <array>
#include <utility>

#include "vm/interpreter/chain.hpp"

namespace skep::vm::interpreter {
namespace {

using Row = std::array<Handler, 2>;  // without and with checks

template <size_t... op>
constexpr std::array<Row, sizeof...(op)> make_handlers(std::index_sequence<op...>) {
  return {Row{chain<Element<static_cast<Operation>(op), false>>,
              chain<Element<static_cast<Operation>(op), true>>}...};
}

constexpr auto kHandlers = make_handlers(std::make_index_sequence<kOperations>());

template <class B>
constexpr AccessKind access_of() {
  if constexpr (Accessing<B>)
    return {B::kBytes, B::kWrite, B::kAligned};
  else
    return {};
}

template <size_t... op>
constexpr std::array<AccessKind, sizeof...(op)> make_accesses(std::index_sequence<op...>) {
  return {access_of<Body<static_cast<Operation>(op)>>()...};
}

constexpr auto kAccesses = make_accesses(std::make_index_sequence<kOperations>());

}  // namespace

Handler handler(Treatment treatment) {
  return kHandlers[static_cast<size_t>(treatment.op)][treatment.checked];
}

AccessKind access_kind(Operation op) { return kAccesses[static_cast<size_t>(op)]; }

bool admit(const Step& i, Activation& a, Cpu& cpu, uint64_t address, unsigned bytes, bool write) {
  Window& window = a.windows[write][width_index(bytes)];
  const uint64_t top = a.r[isa::kFramePointer];
  const Region& last = write ? cpu.last_write : cpu.last_read;
  for (const Region& region : {Region{cpu.stack_begin, top - cpu.stack_begin}, cpu.packet, last}) {
    if (!region.contains(address, bytes)) continue;
    window = Activation::window_of(region, bytes);
    return true;
  }
  cpu.frame_top = top;
  if (!cpu.check_access(*cpu.program, i.charge.slot, address, bytes, write)) return false;
  if (last.contains(address, bytes)) window = Activation::window_of(last, bytes);
  return true;
}

bool admit_aligned(const Step& i, Activation& a, Cpu& cpu, uint64_t address, unsigned bytes, bool write) {
  if (!admit(i, a, cpu, address, bytes, write)) return false;
  if (address % bytes == 0) return true;
  cpu.raise({.kind = FaultKind::kMisaligned,
             .slot = i.charge.slot,
             .program = cpu.program,
             .address = address,
             .size = bytes});
  return false;
}

}  // namespace skep::vm::interpreter
