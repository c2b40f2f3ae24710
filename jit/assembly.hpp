#pragma once

#include <asmjit/core.h>

#include "jit/code_pool.hpp"

namespace skep::jit {

// Machine code while it is being made. Emission goes on after an error; finish() throws it: std::bad_alloc,
// or std::logic_error for a mistake of the emitter's.
class Assembly {
 public:
  Assembly();

  asmjit::CodeHolder& code() { return code_; }
  // Nothing is emitted afterwards; offsets of labels are known from now on.
  void finish();
  // Moves the finished code to its place.
  CodePool::Block place(CodePool& pool);

 private:
  class FirstError final : public asmjit::ErrorHandler {
   public:
    void handleError(asmjit::Error error, const char*, asmjit::BaseEmitter*) override { note(error); }
    void note(asmjit::Error error) {
      if (error_ == asmjit::kErrorOk) error_ = error;
    }
    void rethrow() const;

   private:
    asmjit::Error error_ = asmjit::kErrorOk;
  };

  void check(asmjit::Error error) {
    errors_.note(error);
    errors_.rethrow();
  }

  FirstError errors_;
  asmjit::CodeHolder code_;
};

}  // namespace skep::jit
