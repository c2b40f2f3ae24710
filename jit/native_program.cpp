#include "jit/native_program.hpp"

#include <new>
#include <stdexcept>

#include "jit/emitter.hpp"

namespace skep::jit {
namespace {

// Emission goes on after an error; what counts is that there was one.
class FirstError final : public asmjit::ErrorHandler {
 public:
  void handleError(asmjit::Error error, const char*, asmjit::BaseEmitter*) override { note(error); }
  void note(asmjit::Error error) {
    if (error_ == asmjit::kErrorOk) error_ = error;
  }
  void rethrow() const {
    if (error_ == asmjit::kErrorOk) return;
    if (error_ == asmjit::kErrorOutOfMemory) throw std::bad_alloc();
    throw std::logic_error(asmjit::DebugUtils::errorAsString(error_));
  }

 private:
  asmjit::Error error_ = asmjit::kErrorOk;
};

}  // namespace

class NativeProgram::Translation {
 public:
  Translation(const vm::Program& program, vm::Mode mode, const Translating& options) {
    check(code_.init(asmjit::Environment::host()));
    code_.setErrorHandler(&errors_);
    Emitter emitter(program, mode, options, code_);
    emitter.emit();
    check(code_.flatten());
    check(code_.resolveUnresolvedLinks());
    layout_ = emitter.layout();
    layout_.text_size = static_cast<uint32_t>(code_.textSection()->bufferSize());
  }

  CodeLayout take_layout() { return std::move(layout_); }
  size_t size() const { return code_.codeSize(); }

  void write(std::span<uint8_t> to) {
    check(code_.relocateToBase(reinterpret_cast<uintptr_t>(to.data())));
    check(code_.copyFlattenedData(to.data(), to.size()));
  }

 private:
  void check(asmjit::Error error) {
    errors_.note(error);
    errors_.rethrow();
  }

  FirstError errors_;
  asmjit::CodeHolder code_;
  CodeLayout layout_;
};

NativeProgram::NativeProgram(const vm::Program& program, vm::Mode mode, const Translating& options)
    : NativeProgram(Translation(program, mode, options)) {}

NativeProgram::NativeProgram(Translation&& translation)
    : layout_(translation.take_layout()), memory_(translation.size()) {
  translation.write(memory_.bytes());
  memory_.seal();
}

uint64_t NativeProgram::call(vm::Cpu& cpu, const vm::Subprogram& function,
                             const vm::Arguments& arguments) const {
  using Trampoline = uint64_t (*)(vm::RunState*, const uint64_t* arguments, const void* function);
  const auto enter = reinterpret_cast<Trampoline>(memory_.bytes().data() + layout_.trampoline);
  return enter(&cpu.run(), arguments.data(), this->function(function.index));
}

vm::EntryFunction NativeProgram::entry() const {
  return reinterpret_cast<vm::EntryFunction>(
      reinterpret_cast<uintptr_t>(memory_.bytes().data() + layout_.entry));
}

}  // namespace skep::jit
