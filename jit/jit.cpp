#include "jit/jit.hpp"

#include <asmjit/core.h>

#include "jit/native_program.hpp"

namespace skep::jit {
namespace {

class Jit final : public vm::Engine {
 public:
  explicit Jit(bool bmi2) : bmi2_(bmi2) {}

  std::unique_ptr<vm::Executable> prepare(const vm::Program& program, vm::Mode mode) const override {
    return std::make_unique<NativeProgram>(program, mode, bmi2_);
  }

 private:
  bool bmi2_;
};

}  // namespace

std::unique_ptr<vm::Engine> make_jit(const JitOptions& options) {
  return std::make_unique<Jit>(options.use_bmi2 && asmjit::CpuInfo::host().features().x86().hasBMI2());
}

}  // namespace skep::jit
