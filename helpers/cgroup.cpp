#include <algorithm>
#include <cerrno>

#include "helpers/functions.hpp"
#include "maps/host_object.hpp"
#include "maps/map.hpp"
#include "vm/cgroups.hpp"
#include "vm/cpu.hpp"
#include "vm/packet.hpp"

namespace skep::helpers {
namespace {

// Whether the task that runs the program is in the cgroup of the element, or in one inside it.
uint64_t under_cgroup(uint64_t map_address, uint64_t number) {
  maps::Map& map = *reinterpret_cast<maps::Map*>(map_address);
  if (!map.holds_cgroups()) return error(EINVAL);
  const auto index = static_cast<uint32_t>(number);
  if (index >= map.spec().max_entries) return error(E2BIG);
  const auto* cgroup = static_cast<const maps::HostObject*>(map.peek_object(index));
  if (cgroup == nullptr) return error(EAGAIN);
  const auto around = vm::cgroups_of_caller();
  return std::ranges::find(around, cgroup->number()) != around.end() ? 1 : 0;
}

}  // namespace

uint64_t current_task_under_cgroup(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu&) {
  return under_cgroup(r1, r2);
}

// A packet's socket was made by the task that runs the program.
uint64_t skb_under_cgroup(uint64_t, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu& cpu) {
  if (cpu.packet_context == nullptr || cpu.packet_context->socket().size == 0) return error(ENOENT);
  return under_cgroup(r2, r3);
}

}  // namespace skep::helpers
