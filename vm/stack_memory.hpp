#pragma once

#include <cstddef>
#include <memory>

namespace skep::vm {

// Zeroed memory for a CPU's BPF stack. Guarded, it begins right behind a page without access and ends, where
// its size is whole pages, right before one. Throws std::bad_alloc.
class StackMemory {
 public:
  StackMemory(size_t size, bool guarded);
  StackMemory(const StackMemory&) = delete;
  StackMemory& operator=(const StackMemory&) = delete;
  ~StackMemory();

  std::byte* data() const { return data_; }

 private:
  std::unique_ptr<std::byte[]> plain_;
  std::byte* data_ = nullptr;
  std::byte* mapping_ = nullptr;  // with the guards; nullptr: plain memory
  size_t mapped_ = 0;
};

}  // namespace skep::vm
