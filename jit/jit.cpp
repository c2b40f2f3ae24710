#include "jit/jit.hpp"

#include <asmjit/x86.h>

#include <array>
#include <mutex>
#include <optional>

#include "jit/assembly.hpp"
#include "jit/native_program.hpp"

namespace skep::jit {
namespace {

class Jit final : public vm::Engine {
 public:
  Jit(const Translating& options, CodePool::Storage storage) : options_(options), pool_(storage) {}

  std::unique_ptr<vm::Executable> prepare(const vm::Program& program, vm::Mode mode) const override {
    return translate(program, mode, options_, pool_, trampoline(mode));
  }

 private:
  // Made on first use.
  struct WayIn {
    std::once_flag made;
    std::optional<CodePool::Block> code;
  };

  Trampoline trampoline(vm::Mode mode) const {
    WayIn& way = ways_in_[static_cast<size_t>(mode)];
    std::call_once(way.made, [&] {
      Assembly assembly;
      asmjit::x86::Assembler assembler(&assembly.code());
      emit_trampoline(assembler, mode);
      assembly.finish();
      way.code.emplace(assembly.place(pool_));
    });
    return reinterpret_cast<Trampoline>(reinterpret_cast<uintptr_t>(way.code->bytes().data()));
  }

  Translating options_;
  mutable CodePool pool_;                 // before what lies in it
  mutable std::array<WayIn, 2> ways_in_;  // by mode
};

}  // namespace

std::unique_ptr<vm::Engine> make_jit(const JitOptions& options) {
  const auto& host = asmjit::CpuInfo::host().features().x86();
  const Translating translating{.bmi2 = options.use_bmi2 && host.hasBMI2(),
                                .movbe = options.use_movbe && host.hasMOVBE(),
                                .loop_alignment = options.loop_alignment};
  return std::make_unique<Jit>(
      translating, options.use_memory_file ? CodePool::Storage::kShared : CodePool::Storage::kPrivate);
}

}  // namespace skep::jit
