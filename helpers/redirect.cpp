#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "helpers/functions.hpp"
#include "maps/map.hpp"
#include "maps/redirect_map.hpp"
#include "vm/cpu.hpp"
#include "vm/program.hpp"

namespace skep::helpers {
namespace {

using Kind = vm::RedirectInfo::Kind;

// What bpf_redirect_map returns where it finds nothing.
constexpr uint64_t kFallback = XDP_ABORTED | XDP_DROP | XDP_PASS | XDP_TX;

}  // namespace

// bpf_xdp_redirect, and bpf_redirect for traffic control.
uint64_t redirect(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  const bool xdp = cpu.run().program->type().context == vm::ContextKind::kXdp;
  const uint64_t known = xdp ? uint64_t{0} : uint64_t{BPF_F_INGRESS};
  if ((r2 & ~known) != 0) return xdp ? uint64_t{XDP_ABORTED} : TC_ACT_SHOT;
  cpu.redirect.kind = Kind::kDevice;
  cpu.redirect.index = static_cast<uint32_t>(r1);
  cpu.redirect.flags = r2;
  return xdp ? uint64_t{XDP_REDIRECT} : TC_ACT_REDIRECT;
}

// __bpf_xdp_redirect_map. A lookup that finds nothing takes an earlier one's target back, but leaves its
// number: should the program redirect all the same, it is taken for an ifindex.
uint64_t redirect_map(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu& cpu) {
  maps::RedirectMap* map = reinterpret_cast<maps::Map*>(r1)->redirects();
  if (map == nullptr || (r3 & ~(kFallback | map->redirect_flags())) != 0) return XDP_ABORTED;
  const auto key = static_cast<uint32_t>(r2);
  const bool broadcast = (r3 & BPF_F_BROADCAST) != 0;
  vm::RedirectInfo& info = cpu.redirect;
  info.target = map->target(key);
  if (info.target == nullptr && !broadcast) {
    info.kind = Kind::kDevice;
    return r3 & kFallback;
  }
  info.kind = broadcast ? Kind::kBroadcast : Kind::kTarget;
  info.index = key;
  info.flags = broadcast ? r3 : 0;
  info.map = map;
  return XDP_REDIRECT;
}

}  // namespace skep::helpers
