#include "jit/jit.hpp"

#include <asmjit/core.h>

#include "jit/native_program.hpp"

namespace skep::jit {
namespace {

class Jit final : public vm::Engine {
 public:
  explicit Jit(const Translating& options) : options_(options) {}

  std::unique_ptr<vm::Executable> prepare(const vm::Program& program, vm::Mode mode) const override {
    return std::make_unique<NativeProgram>(program, mode, options_);
  }

 private:
  Translating options_;
};

}  // namespace

std::unique_ptr<vm::Engine> make_jit(const JitOptions& options) {
  const auto& host = asmjit::CpuInfo::host().features().x86();
  return std::make_unique<Jit>(Translating{.bmi2 = options.use_bmi2 && host.hasBMI2(),
                                           .movbe = options.use_movbe && host.hasMOVBE(),
                                           .loop_alignment = options.loop_alignment});
}

}  // namespace skep::jit
