#include "jit/access_checks.hpp"

#include <bit>
#include <cstddef>

#include "jit/runtime.hpp"

namespace skep::jit {

using asmjit::imm;
using vm::RunState;
namespace x86 = asmjit::x86;

namespace {

constexpr int32_t kCacheBytes = sizeof(KeptRegion);
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

void AccessChecks::out_of_line() {
  if (!any()) return;
  for (const Cold& c : cold_) cold(c);
  a_.bind(search_);
  a_.push(x86::rax);
  branches_.jump(access_search_);
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

}  // namespace skep::jit
