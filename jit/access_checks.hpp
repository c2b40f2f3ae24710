#pragma once

#include <asmjit/x86.h>

#include <cstdint>
#include <span>
#include <vector>

#include "jit/access_plan.hpp"
#include "jit/indirect_branches.hpp"
#include "jit/registers.hpp"

namespace skep::jit {

// Emits what holds checked code's accesses. An access is compared with the region that its cache in the
// native frame has; where it lies outside, code apart from the function's goes to the JIT's access search,
// which faults or fills the cache. Reading and writing have caches of their own.
//
// What a cache has stays true while its function is active: elements' values stay where they are during a
// run, the stack that a function may access ends at its r10, and neither the context nor what helpers grant
// is ever kept. The packet's region may move: drop() goes behind whatever may move it.
class AccessChecks {
 public:
  AccessChecks(asmjit::x86::Assembler& assembler, IndirectBranches& branches, const void* access_search)
      : a_(assembler), branches_(branches), access_search_(access_search), search_(assembler.newLabel()) {}

  static int32_t frame_words(std::span<const RegionCache> caches);

  // What follows is a function's, whose frame has its caches at [rsp + offset].
  void begin_function(std::span<const RegionCache> caches, int32_t offset);
  // The running function's caches have nothing.
  void drop();
  // Holds an access to `at`. Changes kAddress and kScratch.
  void hold(const asmjit::x86::Mem& at, const AccessSite& site, const Access& access, uint32_t slot);
  bool any() const { return !cold_.empty(); }
  // Behind the functions: what was not emitted with them.
  void out_of_line();

 private:
  using Label = asmjit::Label;
  using Mem = asmjit::x86::Mem;

  struct Cold {
    Label label;
    Label back;
    Mem at;
    int32_t cache;  // [rsp + cache], or kNone
    Access access;
    bool context;
    uint32_t slot;
  };
  static constexpr int32_t kNone = -1;

  void compare(const Mem& at, int32_t cache, unsigned bytes);
  void cold(const Cold& c);

  asmjit::x86::Assembler& a_;
  IndirectBranches& branches_;
  const void* access_search_;
  std::span<const RegionCache> caches_;
  int32_t offset_ = 0;
  std::vector<Cold> cold_;
  Label search_;
};

}  // namespace skep::jit
