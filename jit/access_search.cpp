#include "jit/access_search.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <iterator>

#include "jit/runtime.hpp"
#include "jit/trampoline.hpp"

namespace skep::jit {

using asmjit::imm;
using vm::Region;
using vm::RunState;
namespace x86 = asmjit::x86;

namespace {

constexpr unsigned kArguments = 2 * 8;

class AccessSearch {
 public:
  AccessSearch(x86::Assembler& assembler, IndirectBranches& branches)
      : a_(assembler), branches_(branches), found_(assembler.newLabel()) {}

  void emit() {
    a_.push(x86::rdi);
    a_.push(x86::rsi);
    packet();
    stack();
    value();
    pop_registers();
    ask_cpu();
    keep();
  }

 private:
  using Label = asmjit::Label;
  using Mem = x86::Mem;

  static constexpr std::array kSaved{x86::rax, x86::rdi, x86::rsi};

  // What was pushed before the search was called.
  static Mem kind() { return x86::dword_ptr(x86::rsp, static_cast<int>(kSaved.size() + 1) * 8); }

  void packet() {
    a_.mov(x86::rax, run_state(offsetof(RunState, packet) + offsetof(Region, begin)));
    a_.mov(x86::rsi, run_state(offsetof(RunState, packet) + offsetof(Region, size)));
    compare();
  }
  void stack() {
    a_.mov(x86::rax, run_state(offsetof(RunState, stack_begin)));
    a_.mov(x86::rsi, kFrame);
    a_.sub(x86::rsi, x86::rax);
    compare();
  }
  void value() {
    constexpr size_t kLast = offsetof(RunState, last_read);
    static_assert(offsetof(RunState, last_write) - kLast == kWriteOfKind);
    a_.mov(x86::edi, kind());
    a_.and_(x86::edi, imm(kWriteOfKind));
    a_.mov(x86::rax, x86::qword_ptr(kCpu, x86::rdi, 0, static_cast<int>(kLast + offsetof(Region, begin))));
    a_.mov(x86::rsi, x86::qword_ptr(kCpu, x86::rdi, 0, static_cast<int>(kLast + offsetof(Region, size))));
    compare();
  }

  // With the region's beginning in rax and its size in rsi. Leaves both, and kAddress, as they were where the
  // access is outside.
  void compare() {
    const Label too_small = a_.newLabel();
    a_.mov(x86::edi, kind());
    a_.and_(x86::edi, imm(kBytesOfKind));
    a_.sub(x86::rsi, x86::rdi);
    a_.jb(too_small);
    a_.sub(kAddress, x86::rax);
    a_.cmp(kAddress, x86::rsi);
    a_.jbe(found_);
    a_.add(kAddress, x86::rax);
    a_.bind(too_small);
  }

  // With the region's beginning in rax, the bytes of the access in rdi and the region's others in rsi.
  void keep() {
    const Label done = a_.newLabel();
    a_.bind(found_);
    a_.test(kScratch, kScratch);
    a_.jz(done);
    a_.mov(x86::qword_ptr(kScratch, offsetof(KeptRegion, begin)), x86::rax);
    a_.add(x86::rsi, x86::rdi);
    a_.mov(x86::qword_ptr(kScratch, offsetof(KeptRegion, limits)), x86::rsi);
    a_.xor_(x86::edi, x86::edi);
    for (unsigned n = 1; n < std::tuple_size_v<decltype(KeptRegion::limits)>; ++n) {
      a_.mov(x86::rax, x86::rsi);
      a_.sub(x86::rax, imm((1U << n) - 1));
      a_.cmovb(x86::rax, x86::rdi);
      a_.mov(x86::qword_ptr(kScratch, static_cast<int>(offsetof(KeptRegion, limits) + n * 8)), x86::rax);
    }
    a_.bind(done);
    pop_registers();
    a_.ret(kArguments);
  }

  void pop_registers() {
    for (size_t n = kSaved.size(); n-- > 0;) a_.pop(kSaved[n]);
  }

  void ask_cpu() {
    static constexpr std::array kKept{x86::rax, x86::rdi, x86::rsi, x86::rdx, x86::rcx, x86::r8};
    const auto argument = [](int n) {
      return x86::dword_ptr(x86::rsp, (static_cast<int>(std::size(kKept)) + 1 + n) * 8);
    };
    const Mem fuel = run_state(offsetof(RunState, fuel));
    for (const Gp& reg : kKept) a_.push(reg);
    a_.mov(fuel, kFuel);
    a_.mov(run_state(offsetof(RunState, frame_top)), kFrame);
    a_.mov(x86::rdi, kCpu);
    a_.mov(x86::ecx, argument(0));
    a_.mov(x86::esi, argument(1));
    a_.mov(x86::rdx, kAddress);
    a_.mov(x86::r8, kScratch);
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
    const Label unwinding = a_.newLabel();
    a_.jz(unwinding);
    a_.ret(kArguments);
    a_.bind(unwinding);
    emit_unwinding(a_, vm::Mode::kChecked);
  }

  x86::Assembler& a_;
  IndirectBranches& branches_;
  Label found_;
};

}  // namespace

void emit_access_search(x86::Assembler& a, IndirectBranches& branches) { AccessSearch(a, branches).emit(); }

}  // namespace skep::jit
