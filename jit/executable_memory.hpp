#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace skep::jit {

// Pages for machine code. Writable until sealed, executable from then on, never both.
class ExecutableMemory {
 public:
  explicit ExecutableMemory(size_t size);  // throws std::bad_alloc
  ExecutableMemory(const ExecutableMemory&) = delete;
  ExecutableMemory& operator=(const ExecutableMemory&) = delete;
  ~ExecutableMemory();

  std::span<uint8_t> bytes() const { return {memory_, size_}; }
  void seal();  // throws std::bad_alloc where the host does not allow it

 private:
  uint8_t* memory_;
  size_t size_;
};

}  // namespace skep::jit
