#include "jit/assembly.hpp"

#include <new>
#include <stdexcept>
#include <vector>

namespace skep::jit {

void Assembly::FirstError::rethrow() const {
  if (error_ == asmjit::kErrorOk) return;
  if (error_ == asmjit::kErrorOutOfMemory) throw std::bad_alloc();
  throw std::logic_error(asmjit::DebugUtils::errorAsString(error_));
}

Assembly::Assembly() {
  check(code_.init(asmjit::Environment::host()));
  code_.setErrorHandler(&errors_);
}

void Assembly::finish() {
  check(code_.flatten());
  check(code_.resolveUnresolvedLinks());
}

CodePool::Block Assembly::place(CodePool& pool) {
  CodePool::Block block = pool.allocate(code_.codeSize());
  check(code_.relocateToBase(reinterpret_cast<uintptr_t>(block.bytes().data())));
  std::vector<uint8_t> bytes(block.bytes().size());
  check(code_.copyFlattenedData(bytes.data(), bytes.size()));
  block.write(bytes);
  return block;
}

}  // namespace skep::jit
