#include "jit/emitter.hpp"

namespace skep::jit {

using asmjit::imm;
using isa::AtomicOp;
using isa::Source;
namespace x86 = asmjit::x86;

namespace {

// The immediate's low bits, as a signed number of that width.
int64_t truncated(uint64_t value, unsigned bits) {
  return static_cast<int64_t>(value << (64 - bits)) >> (64 - bits);
}

}  // namespace

asmjit::x86::Mem memory(unsigned base, const vm::LoweredInstruction& i, unsigned bytes) {
  if (base == vm::kZeroRegister)
    return x86::ptr(uint64_t{0}, native(i.index), i.scale, bytes).cloneAdjusted(i.off);
  if (i.index == vm::kZeroRegister) return x86::ptr(native(base), i.off, bytes);
  return x86::ptr(native(base), native(i.index), i.scale, i.off, bytes);
}

// The memory operand for an access of base + off; in checked mode behind its check. Uses kAddress and
// kScratch.
asmjit::x86::Mem Emitter::checked_access(unsigned base, const Instruction& i, unsigned bytes, bool write) {
  const Mem at = memory(base, i, bytes);
  const Access access{static_cast<uint8_t>(base), static_cast<uint8_t>(bytes), write};
  if (checked() && !is_inside_frame(i, access))
    checks_.hold(at, analysis_.accesses[current_], access, i.slot);
  return at;
}

asmjit::x86::Mem Emitter::checked_aligned_access(unsigned base, const Instruction& i, unsigned bytes,
                                                 bool write) {
  const Mem at = checked_access(base, i, bytes, write);
  if (!checked() || bytes == 1) return at;
  a_.lea(kAddress, at);
  a_.test(kAddress.r8(), imm(bytes - 1));
  a_.jnz(fault(vm::FaultKind::kMisaligned, i.slot, bytes));
  return x86::ptr(kAddress, 0, bytes);
}

void Emitter::load(const Instruction& i, const isa::Row& row) {
  load_from(native(i.dst), checked_access(i.src, i, row.width / 8u, false), row.is_signed());
}

void Emitter::load_from(const Gp& dst, const Mem& from, bool is_signed) {
  const uint32_t bytes = from.size();
  if (bytes == 8)
    a_.mov(dst, from);
  else if (bytes == 4 && is_signed)
    a_.movsxd(dst, from);
  else if (bytes == 4)
    a_.mov(dst.r32(), from);
  else if (is_signed)
    a_.movsx(dst, from);
  else
    a_.movzx(dst.r32(), from);
}

void Emitter::store(const Instruction& i, const isa::Row& row) {
  store_to(checked_access(i.dst, i, row.width / 8u, true), i, row.source);
}

void Emitter::store_to(const Mem& to, const Instruction& i, Source source) {
  const unsigned width = to.size() * 8;
  if (source == Source::kImm)
    store_constant(to, truncated(i.imm, width));
  else
    a_.mov(to, part(native(i.src), width));
}

void Emitter::atomic(const Instruction& i, const isa::Row& row) {
  const Mem at = checked_aligned_access(i.dst, i, row.width / 8u, true);
  const Gp src = part(native(i.src), row.width);
  switch (row.atomic()) {
    case AtomicOp::kAdd:
      a_.lock().add(at, src);
      return;
    case AtomicOp::kOr:
      a_.lock().or_(at, src);
      return;
    case AtomicOp::kAnd:
      a_.lock().and_(at, src);
      return;
    case AtomicOp::kXor:
      a_.lock().xor_(at, src);
      return;
    case AtomicOp::kFetchAdd:
      a_.lock().xadd(at, src);
      return;
    case AtomicOp::kFetchOr:
      return fetch_by_loop(x86::Inst::kIdOr, i, row.width, at);
    case AtomicOp::kFetchAnd:
      return fetch_by_loop(x86::Inst::kIdAnd, i, row.width, at);
    case AtomicOp::kFetchXor:
      return fetch_by_loop(x86::Inst::kIdXor, i, row.width, at);
    case AtomicOp::kXchg:
      a_.xchg(at, src);
      return;
    case AtomicOp::kCmpxchg:
      a_.lock().cmpxchg(at, src);
      // When it succeeds the machine leaves the upper half as it was.
      if (row.width == 32) a_.mov(x86::eax, x86::eax);
      return;
  }
}

// The machine has no or, and, xor that fetches: compare and exchange through rax, whose value waits in
// kFuel's register.
void Emitter::fetch_by_loop(x86::Inst::Id id, const Instruction& i, unsigned width, const Mem& at) {
  const Gp rax = part(x86::rax, width);
  const Gp updated = part(kScratch, width);
  const bool is_rax = native(i.src).id() == x86::rax.id();
  const Gp operand = part(is_rax ? kFuel : native(i.src), width);
  Mem address = x86::ptr(kAddress, 0, at.size());
  if (at.baseId() != kAddress.id()) a_.lea(kAddress, at);
  spill_fuel();
  a_.mov(kFuel, x86::rax);
  a_.mov(rax, address);
  const Label again = a_.newLabel();
  a_.bind(again);
  a_.mov(updated, rax);
  a_.emit(id, updated, operand);
  a_.lock().cmpxchg(address, updated);
  a_.jne(again);
  if (!is_rax) {
    a_.mov(native(i.src), x86::rax);
    a_.mov(x86::rax, kFuel);
  }
  reload_fuel();
}

// The machine's plain loads acquire and its plain stores release.
void Emitter::ordered(const Instruction& i, const isa::Row& row) {
  const bool is_store = row.direction() == isa::Direction::kStore;
  const Mem at = checked_aligned_access(is_store ? i.dst : i.src, i, row.width / 8u, is_store);
  if (is_store)
    a_.mov(at, part(native(i.src), row.width));
  else
    load_from(native(i.dst), at, false);
}

}  // namespace skep::jit
