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

x86::Mem run_state(size_t offset) { return x86::qword_ptr(kCpu, static_cast<int32_t>(offset)); }

// Where a cache has what addresses of accesses of that many bytes, less the region's beginning, are below.
x86::Mem limit(int32_t cache, unsigned bytes) {
  const auto width = static_cast<size_t>(std::countr_zero(bytes));
  return x86::qword_ptr(x86::rsp, cache + static_cast<int32_t>(offsetof(KeptRegion, limits) + width * 8));
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
  for (const Thunk& t : thunks_) thunk(t, unwinding);
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
  a_.call(thunk_of(c.access));
  a_.jmp(c.back);
}

asmjit::Label AccessChecks::thunk_of(const Access& access) {
  for (const Thunk& t : thunks_)
    if (t.bytes == access.bytes && t.write == access.write) return t.label;
  return thunks_.emplace_back(a_.newLabel(), access.bytes, access.write).label;
}

// The address in kAddress, the cache's in kScratch, and the slot on the stack, which it takes from there.
void AccessChecks::thunk(const Thunk& t, const Label& unwinding) {
  static constexpr Gp kKept[] = {x86::rax, x86::rdi, x86::rsi, x86::rdx, x86::rcx, x86::r8};
  const x86::Mem slot = x86::dword_ptr(x86::rsp, (std::size(kKept) + 1) * 8);
  const x86::Mem fuel = run_state(offsetof(RunState, fuel));
  a_.align(asmjit::AlignMode::kCode, 16);
  a_.bind(t.label);
  for (const Gp& reg : kKept) a_.push(reg);
  a_.mov(fuel, kFuel);
  a_.mov(run_state(offsetof(RunState, frame_top)), kFrame);
  a_.mov(x86::rdi, kCpu);
  a_.mov(x86::rsi, imm(reinterpret_cast<uintptr_t>(&program_)));
  a_.mov(x86::edx, slot);
  a_.mov(x86::rcx, kAddress);
  a_.mov(x86::r8d, imm(t.bytes));
  a_.mov(x86::r9, kScratch);
  // Not every function keeps the stack aligned.
  a_.mov(x86::rax, x86::rsp);
  a_.and_(x86::rsp, -16);
  a_.push(x86::rax);
  a_.push(x86::rax);
  a_.call(imm(reinterpret_cast<uintptr_t>(t.write ? &hold_write : &hold_read)));
  a_.test(x86::al, x86::al);
  a_.mov(x86::rsp, x86::qword_ptr(x86::rsp));
  for (size_t n = std::size(kKept); n-- > 0;) a_.pop(kKept[n]);
  a_.mov(kFuel, fuel);
  a_.jz(unwinding);
  a_.ret(8);
}

}  // namespace skep::jit
