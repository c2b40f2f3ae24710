#include "vm/stack_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace skep::vm {

StackMemory::StackMemory(size_t size, bool guarded) {
  if (!guarded) {
    plain_ = std::make_unique<std::byte[]>(size);
    data_ = plain_.get();
    return;
  }
  const auto page = static_cast<size_t>(getpagesize());
  const size_t usable = (size + page - 1) / page * page;
  mapped_ = page + usable + page;
  void* memory = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(memory);
  data_ = mapping_ + page;
  if (mprotect(data_, usable, PROT_READ | PROT_WRITE) == 0) return;
  munmap(mapping_, mapped_);
  throw std::bad_alloc();
}

StackMemory::~StackMemory() {
  if (mapping_ != nullptr) munmap(mapping_, mapped_);
}

}  // namespace skep::vm
