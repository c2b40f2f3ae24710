#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace skep::maps {

// Zeroed pages of the process. Nothing is committed before it is touched, so that a map costs what it uses
// and not what it could hold. Empty when the memory is refused.
class Mapping {
 public:
  Mapping() = default;
  // Private pages. Refused beyond the machine's memory, as the kernel's vmalloc refuses it.
  static Mapping anonymous(uint64_t bytes);
  // Pages of a new memory file, which keeps a descriptor to map them elsewhere. Rounded up to whole pages.
  static Mapping memory_file(uint64_t bytes, const char* name);

  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        descriptor_(std::exchange(other.descriptor_, -1)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  explicit operator bool() const { return data_ != nullptr; }
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  int descriptor() const { return descriptor_; }

 private:
  Mapping(std::byte* data, size_t size, int descriptor) : data_(data), size_(size), descriptor_(descriptor) {}

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  int descriptor_ = -1;
};

// The machine's memory in bytes: no map is larger.
uint64_t memory_limit();

}  // namespace skep::maps
