#include "jit/access_checks.hpp"

#include <bit>
#include <cstddef>
#include <iterator>

#include "jit/runtime.hpp"

namespace skep::jit {

using asmjit::imm;
using vm::RunState;
namespace x86 = asmjit::x86;

namespace {

constexpr int32_t kCacheBytes = sizeof(KeptRegion);
constexpr unsigned kWidest = 8;  // access, in bytes
constexpr unsigned kSearchArguments = 2 * 8;
constexpr size_t kPacketBegin = offsetof(RunState, packet) + offsetof(vm::Region, begin);
constexpr size_t kPacketSize = offsetof(RunState, packet) + offsetof(vm::Region, size);

x86::Mem run_state(size_t offset) { return x86::qword_ptr(kCpu, static_cast<int32_t>(offset)); }

// Where a cache has what addresses of accesses of that many bytes, less the region's beginning, are below.
int32_t limit_offset(unsigned bytes) {
  return static_cast<int32_t>(offsetof(KeptRegion, limits)) + std::countr_zero(bytes) * 8;
}
x86::Mem limit(int32_t cache, unsigned bytes) {
  return x86::qword_ptr(x86::rsp, cache + limit_offset(bytes));
}

}  // namespace

int32_t AccessChecks::frame_words(std::span<const RegionCache> caches) {
  return static_cast<int32_t>(caches.size()) * kCacheBytes / 8;
}

void AccessChecks::begin_function(std::span<const RegionCache> caches, int32_t offset) {
  caches_ = caches;
  offset_ = offset;
  drop();
}

void AccessChecks::drop() {
  for (size_t n = 0; n < caches_.size(); ++n) {
    const int32_t cache = offset_ + static_cast<int32_t>(n) * kCacheBytes;
    for (unsigned left = caches_[n].widths; left != 0; left &= left - 1)
      a_.mov(limit(cache, left & -left), imm(0));
  }
}

void AccessChecks::hold(const Mem& at, const AccessSite& site, const Access& access, uint32_t slot) {
  const bool cached = site.cache != AccessSite::kNoCache;
  const int32_t cache = cached ? offset_ + site.cache * kCacheBytes : kNone;
  const Cold& c = cold_.emplace_back(a_.newLabel(), a_.newLabel(), at, cache, access, site.context, slot);
  if (site.context) {
    a_.cmp(native(access.base), run_state(offsetof(RunState, context) + offsetof(vm::Region, begin)));
    a_.jne(c.label);
  } else if (cached) {
    compare(at, cache, access.bytes);
    a_.jae(c.label);
  } else {
    a_.jmp(c.label);
  }
  a_.bind(c.back);
}

// Below: inside.
void AccessChecks::compare(const Mem& at, int32_t cache, unsigned bytes) {
  if (at.hasIndex() || at.offset() != 0)
    a_.lea(kAddress, at);
  else
    a_.mov(kAddress, at.baseReg().as<Gp>());
  a_.sub(kAddress, x86::qword_ptr(x86::rsp, cache + static_cast<int32_t>(offsetof(KeptRegion, begin))));
  a_.cmp(kAddress, limit(cache, bytes));
}

void AccessChecks::out_of_line(const Label& unwinding) {
  for (const Cold& c : cold_) cold(c);
  search(unwinding);
}

void AccessChecks::cold(const Cold& c) {
  a_.bind(c.label);
  if (c.context && c.cache != kNone) {
    compare(c.at, c.cache, c.access.bytes);
    a_.jb(c.back);
  }
  a_.lea(kAddress, c.at);
  if (c.cache != kNone)
    a_.lea(kScratch, x86::ptr(x86::rsp, c.cache));
  else
    a_.xor_(kScratch.r32(), kScratch.r32());
  a_.push(imm(c.slot));
  a_.push(imm(access_kind(c.access.bytes, c.access.write)));
  a_.call(search_);
  a_.jmp(c.back);
}

// Called with the address in kAddress, the cache's in kScratch, and on the stack the slot and the kind of the
// access, which it takes from there. Most accesses outside their cache are a pointer's first, to the packet.
void AccessChecks::search(const Label& unwinding) {
  const Label elsewhere = a_.newLabel();
  const Label found = a_.newLabel();
  a_.align(asmjit::AlignMode::kCode, 16);
  a_.bind(search_);
  a_.push(x86::rax);
  a_.push(x86::rdi);
  find_in_packet(x86::dword_ptr(x86::rsp, 3 * 8), elsewhere);
  a_.test(kScratch, kScratch);
  a_.jz(found);
  keep_packet();
  a_.bind(found);
  a_.pop(x86::rdi);
  a_.pop(x86::rax);
  a_.ret(kSearchArguments);
  a_.bind(elsewhere);
  a_.pop(x86::rdi);
  a_.pop(x86::rax);
  ask_cpu(unwinding);
}

// Goes elsewhere where the packet is too short for the widest access, too, so that keep_packet() need not
// look. Changes rax and rdi.
void AccessChecks::find_in_packet(const Mem& kind, const Label& elsewhere) {
  a_.mov(x86::rax, run_state(kPacketSize));
  a_.cmp(x86::rax, imm(kWidest));
  a_.jb(elsewhere);
  a_.mov(x86::edi, kind);
  a_.and_(x86::edi, imm(kBytesOfKind));
  a_.sub(x86::rax, x86::rdi);
  a_.mov(x86::rdi, kAddress);
  a_.sub(x86::rdi, run_state(kPacketBegin));
  a_.cmp(x86::rdi, x86::rax);
  a_.ja(elsewhere);
}

void AccessChecks::keep_packet() {
  a_.mov(x86::rdi, run_state(kPacketBegin));
  a_.mov(x86::qword_ptr(kScratch, offsetof(KeptRegion, begin)), x86::rdi);
  a_.mov(x86::rdi, run_state(kPacketSize));
  for (unsigned bytes = 1; bytes <= kWidest; bytes *= 2) {
    if (bytes > 1) a_.sub(x86::rdi, imm(bytes / 2));
    a_.mov(x86::qword_ptr(kScratch, limit_offset(bytes)), x86::rdi);
  }
}

void AccessChecks::ask_cpu(const Label& unwinding) {
  static constexpr Gp kKept[] = {x86::rax, x86::rdi, x86::rsi, x86::rdx, x86::rcx, x86::r8};
  const auto argument = [](int n) {
    return x86::dword_ptr(x86::rsp, (static_cast<int>(std::size(kKept)) + 1 + n) * 8);
  };
  const Mem fuel = run_state(offsetof(RunState, fuel));
  for (const Gp& reg : kKept) a_.push(reg);
  a_.mov(fuel, kFuel);
  a_.mov(run_state(offsetof(RunState, frame_top)), kFrame);
  a_.mov(x86::rdi, kCpu);
  a_.mov(x86::rsi, imm(reinterpret_cast<uintptr_t>(&program_)));
  a_.mov(x86::r8d, argument(0));
  a_.mov(x86::edx, argument(1));
  a_.mov(x86::rcx, kAddress);
  a_.mov(x86::r9, kScratch);
  // Not every function keeps the stack aligned.
  a_.mov(x86::rax, x86::rsp);
  a_.and_(x86::rsp, -16);
  a_.push(x86::rax);
  a_.push(x86::rax);
  branches_.call(reinterpret_cast<const void*>(&hold_access));
  a_.test(x86::al, x86::al);
  a_.mov(x86::rsp, x86::qword_ptr(x86::rsp));
  for (size_t n = std::size(kKept); n-- > 0;) a_.pop(kKept[n]);
  a_.mov(kFuel, fuel);
  a_.jz(unwinding);
  a_.ret(kSearchArguments);
}

}  // namespace skep::jit
