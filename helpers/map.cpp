#include <linux/bpf.h>

#include <cerrno>

#include "helpers/functions.hpp"
#include "maps/map.hpp"
#include "vm/cpu.hpp"

namespace skep::helpers {
namespace {

maps::Map& map_of(uint64_t r1) { return *reinterpret_cast<maps::Map*>(r1); }
const void* memory(uint64_t address) { return reinterpret_cast<const void*>(address); }
uint64_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }
uint64_t result(long value) { return static_cast<uint64_t>(value); }

// The verifier refuses these uses; a program that is not verified meets them here.
bool closed_to_reads(const maps::Map& map) { return (map.spec().flags & BPF_F_WRONLY_PROG) != 0; }
bool closed_to_writes(const maps::Map& map) { return (map.spec().flags & BPF_F_RDONLY_PROG) != 0; }

// Calls the program's function for each element: (map, key, value, context).
class CallbackVisitor final : public maps::ElementVisitor {
 public:
  CallbackVisitor(vm::Cpu& cpu, maps::Map& map, uint64_t callback, uint64_t context)
      : cpu_(cpu), map_(map), callback_(callback), context_(context) {}

  long visit(const void* key, void* value) override {
    const vm::ScopedGrant key_grant(cpu_, key, map_.spec().key_size);
    const uint64_t r0 =
        cpu_.call_back(callback_, {address(&map_), address(key), address(value), context_, 0});
    return r0 != 0 || cpu_.stopped() ? 1 : 0;
  }

 private:
  vm::Cpu& cpu_;
  maps::Map& map_;
  uint64_t callback_;
  uint64_t context_;
};

}  // namespace

uint64_t map_lookup_elem(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  maps::Map& map = map_of(r1);
  if (closed_to_reads(map)) return 0;
  void* found = map.lookup(memory(r2), cpu.id());
  if (map.spec().inner != nullptr && found != nullptr && cpu.run().mode == vm::Mode::kChecked)
    cpu.admit_map(*static_cast<maps::Map*>(found));
  return address(found);
}

uint64_t map_update_elem(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  maps::Map& map = map_of(r1);
  return closed_to_writes(map) ? error(EPERM) : result(map.update(memory(r2), memory(r3), r4, cpu.id()));
}

uint64_t map_delete_elem(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  maps::Map& map = map_of(r1);
  return closed_to_writes(map) ? error(EPERM) : result(map.erase_on(memory(r2), cpu.id()));
}

uint64_t map_push_elem(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu& cpu) {
  maps::Map& map = map_of(r1);
  return closed_to_writes(map) ? error(EPERM) : result(map.push(memory(r2), r3, cpu.id()));
}

uint64_t map_pop_elem(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  maps::Map& map = map_of(r1);
  if (closed_to_reads(map) || closed_to_writes(map)) return error(EPERM);
  return result(map.pop(reinterpret_cast<void*>(r2), cpu.id()));
}

uint64_t map_peek_elem(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu&) {
  maps::Map& map = map_of(r1);
  return closed_to_reads(map) ? error(EPERM) : result(map.peek(reinterpret_cast<void*>(r2)));
}

uint64_t map_lookup_percpu_elem(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu&) {
  maps::Map& map = map_of(r1);
  const auto cpu = static_cast<uint32_t>(r3);
  if (cpu >= map.cpus() || closed_to_reads(map)) return 0;
  return address(map.lookup_percpu(memory(r2), cpu));
}

uint64_t for_each_map_elem(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  if (r4 != 0) return error(EINVAL);
  maps::Map& map = map_of(r1);
  CallbackVisitor visitor(cpu, map, r2, r3);
  return result(map.for_each(visitor, cpu.id()));
}

}  // namespace skep::helpers
