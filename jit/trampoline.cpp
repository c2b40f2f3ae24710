#include "jit/trampoline.hpp"

#include <iterator>

#include "jit/registers.hpp"

namespace skep::jit {

using vm::RunState;
namespace x86 = asmjit::x86;

void emit_trampoline(x86::Assembler& a, vm::Mode mode, IndirectBranches& branches) {
  const x86::Mem fuel = run_state(offsetof(RunState, fuel));
  for (const Gp& reg : kPreserved) a.push(reg);
  a.mov(kCpu, x86::rdi);
  a.push(run_state(offsetof(RunState, native_stack)));  // of the run that this one is nested in
  note_way_out(a);
  a.mov(kAddress, x86::rdx);
  a.mov(kScratch, x86::rsi);
  for (unsigned n = 1; n <= 5; ++n)
    a.mov(native(n), x86::qword_ptr(kScratch, static_cast<int32_t>((n - 1) * sizeof(uint64_t))));
  a.mov(kFrame, run_state(offsetof(RunState, frame_top)));
  a.xor_(x86::eax, x86::eax);
  for (unsigned n = 6; n <= 9; ++n) a.xor_(native(n).r32(), native(n).r32());
  if (mode == vm::Mode::kChecked) a.mov(kFuel, fuel);
  branches.call(kAddress);
  if (mode == vm::Mode::kChecked) a.mov(fuel, kFuel);
  a.pop(run_state(offsetof(RunState, native_stack)));
  for (size_t n = std::size(kPreserved); n-- > 0;) a.pop(kPreserved[n]);
  a.ret();
}

void emit_unwinding(x86::Assembler& a, vm::Mode mode) {
  a.mov(x86::rsp, run_state(offsetof(RunState, native_stack)));
  if (mode == vm::Mode::kChecked) a.mov(kFuel, run_state(offsetof(RunState, fuel)));
  a.xor_(x86::eax, x86::eax);
  a.ret();
}

void note_way_out(x86::Assembler& a) {
  a.lea(kScratch, x86::qword_ptr(x86::rsp, -8));
  a.mov(run_state(offsetof(RunState, native_stack)), kScratch);
}

}  // namespace skep::jit
