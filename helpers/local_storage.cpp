#include "maps/local_storage.hpp"

#include <linux/bpf.h>

#include <cerrno>

#include "helpers/functions.hpp"
#include "vm/cpu.hpp"
#include "vm/packet.hpp"

namespace skep::helpers {
namespace {

using maps::HostKind;

uint64_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// nullptr: a map of another type, which only programs that are not verified can give.
maps::LocalStorageMap* storage(uint64_t map, HostKind kind) {
  maps::LocalStorageMap* found = reinterpret_cast<maps::Map*>(map)->local_storage();
  return found != nullptr && found->kind() == kind ? found : nullptr;
}

uint64_t get(uint64_t map, maps::HostObject& owner, uint64_t initial, uint64_t flags, vm::Cpu& cpu) {
  maps::LocalStorageMap* found = storage(map, owner.kind());
  if (found == nullptr) return 0;
  const bool create = (flags & BPF_LOCAL_STORAGE_GET_F_CREATE) != 0;
  return address(found->get(owner, reinterpret_cast<const void*>(initial), create, cpu.id()));
}

uint64_t remove(uint64_t map, maps::HostObject& owner, vm::Cpu& cpu) {
  maps::LocalStorageMap* found = storage(map, owner.kind());
  return found == nullptr ? error(EINVAL)
                          : static_cast<uint64_t>(static_cast<int64_t>(found->remove(owner, cpu.id())));
}

}  // namespace

// For bpf_get_current_task_btf too: the two differ in what the kernel's verifier knows of the pointer.
uint64_t get_current_task(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return address(&cpu.current_task());
}

uint64_t task_storage_get(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  if (r2 == 0 || (r4 & ~uint64_t{BPF_LOCAL_STORAGE_GET_F_CREATE}) != 0) return 0;
  return get(r1, *reinterpret_cast<maps::HostObject*>(r2), r3, r4, cpu);
}

uint64_t task_storage_delete(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return r2 == 0 ? error(EINVAL) : remove(r1, *reinterpret_cast<maps::HostObject*>(r2), cpu);
}

// A program's socket is its packet's; what is kept for it is found there.
uint64_t sk_storage_get(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  if (r2 == 0 || r4 > BPF_SK_STORAGE_GET_F_CREATE || cpu.packet_context == nullptr) return 0;
  return get(r1, cpu.packet_context->socket_object(), r3, r4, cpu);
}

uint64_t sk_storage_delete(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  if (r2 == 0 || cpu.packet_context == nullptr) return error(EINVAL);
  return remove(r1, cpu.packet_context->socket_object(), cpu);
}

// Those that are no full sockets are on their way in or out; a test run's is neither.
uint64_t sk_fullsock(uint64_t r1, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu&) { return r1; }

uint64_t get_socket_cookie(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  return cpu.packet_context == nullptr ? 0 : cpu.packet_context->socket_object().number();
}

}  // namespace skep::helpers
