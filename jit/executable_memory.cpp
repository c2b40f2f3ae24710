#include "jit/executable_memory.hpp"

#include <sys/mman.h>

#include <new>

namespace skep::jit {

ExecutableMemory::ExecutableMemory(size_t size) : memory_(nullptr), size_(size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<uint8_t*>(memory);
}

ExecutableMemory::~ExecutableMemory() { munmap(memory_, size_); }

void ExecutableMemory::seal() {
  if (mprotect(memory_, size_, PROT_READ | PROT_EXEC) != 0) throw std::bad_alloc();
}

}  // namespace skep::jit
