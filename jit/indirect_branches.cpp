#include "jit/indirect_branches.hpp"

#include <algorithm>
#include <cstdint>

namespace skep::jit {

using asmjit::imm;
namespace x86 = asmjit::x86;

void IndirectBranches::call(const void* function) {
  const auto address = reinterpret_cast<uintptr_t>(function);
  if (!retpolines_) {
    a_.call(imm(address));  // by way of memory, where it is far
    return;
  }
  a_.mov(x86::rax, imm(address));
  call(x86::rax);
}

void IndirectBranches::jump(const void* code) {
  const auto address = reinterpret_cast<uintptr_t>(code);
  if (!retpolines_) {
    a_.jmp(imm(address));
    return;
  }
  a_.mov(x86::rax, imm(address));
  jump(x86::rax);
}

void IndirectBranches::call(const Gp& target) {
  if (retpolines_)
    a_.call(thunk(target));
  else
    a_.call(target);
}

void IndirectBranches::jump(const Gp& target) {
  if (retpolines_)
    a_.jmp(thunk(target));
  else
    a_.jmp(target);
}

asmjit::Label IndirectBranches::thunk(const Gp& target) {
  const auto made = std::ranges::find(thunks_, target, &std::pair<Gp, asmjit::Label>::first);
  if (made != thunks_.end()) return made->second;
  return thunks_.emplace_back(target, a_.newLabel()).second;
}

void IndirectBranches::thunks() {
  for (const auto& [target, label] : thunks_) {
    const asmjit::Label set_target = a_.newLabel();
    const asmjit::Label wait = a_.newLabel();
    a_.align(asmjit::AlignMode::kCode, 16);
    a_.bind(label);
    a_.call(set_target);
    a_.bind(wait);
    a_.pause();
    a_.lfence();
    a_.jmp(wait);
    a_.bind(set_target);
    a_.mov(x86::qword_ptr(x86::rsp), target);
    a_.ret();
  }
}

}  // namespace skep::jit
