#include "jit/runtime.hpp"

#include "jit/native_program.hpp"
#include "vm/helper_call.hpp"

namespace skep::jit {

void raise_fault(vm::Cpu& cpu, const vm::Program& program, uint32_t slot, vm::FaultKind kind,
                 uint64_t address, uint64_t size) noexcept {
  cpu.raise({.kind = kind, .slot = slot, .program = &program, .address = address, .size = size});
}

bool hold_access(vm::Cpu& cpu, uint32_t slot, uint64_t address, uint32_t kind, KeptRegion* keep) noexcept {
  vm::Region lasting;
  const bool write = (kind & kWriteOfKind) != 0;
  if (!cpu.check_access(*cpu.program, slot, address, kind & kBytesOfKind, write, &lasting)) return false;
  if (!keep || lasting.size == 0) return true;
  keep->begin = lasting.begin;
  for (size_t n = 0; n < keep->limits.size(); ++n) {
    const uint64_t bytes = uint64_t{1} << n;
    keep->limits[n] = lasting.size < bytes ? 0 : lasting.size - bytes + 1;
  }
  return true;
}

TailCall tail_call(uint64_t context, uint64_t map, uint64_t index, vm::Cpu& cpu,
                   const vm::CallSite& site) noexcept {
  const vm::Program* target = vm::tail_call_target(cpu, site, map, index);
  if (!target) return {nullptr, context};
  // Programs of one machine share its engines, so that the executable is this JIT's.
  const auto& code = static_cast<const NativeProgram&>(target->executable(cpu.engine, cpu.mode));
  return {code.function(0), context};
}

const void* prepare_target(vm::Cpu& cpu, const vm::TailTarget& target) noexcept {
  return target.program->executable(cpu.engine, cpu.mode).tail_entry();
}

}  // namespace skep::jit
