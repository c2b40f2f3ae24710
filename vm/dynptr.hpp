#pragma once

#include <cstdint>
#include <cstring>

namespace skep::vm {

// What lies in a program's struct bpf_dynptr (struct bpf_dynptr_kern): memory, and how much of it.
struct Dynptr {
  // The kernel's enum bpf_dynptr_type, as far as helpers make them.
  enum class Type : uint32_t { kInvalid, kLocal, kRingbuf };
  static constexpr uint32_t kMaxSize = (1U << 24) - 1;  // DYNPTR_MAX_SIZE

  uint64_t data = 0;  // 0: refers to nothing
  uint32_t bits = 0;  // the size, the type from bit 28 on, and bit 31: read-only
  uint32_t offset = 0;

  static Dynptr make(uint64_t data, Type type, uint32_t size) {
    return {.data = data, .bits = size | static_cast<uint32_t>(type) << kTypeShift, .offset = 0};
  }
  // Programs keep theirs on the stack, aligned as they like.
  static Dynptr load(uint64_t address) {
    Dynptr out;
    std::memcpy(&out, reinterpret_cast<const void*>(address), sizeof out);
    return out;
  }
  void store(uint64_t address) const { std::memcpy(reinterpret_cast<void*>(address), this, sizeof *this); }

  uint32_t size() const { return bits & kMaxSize; }
  Type type() const { return static_cast<Type>((bits & ~kReadOnly) >> kTypeShift); }
  bool read_only() const { return (bits & kReadOnly) != 0; }
  uint64_t begin() const { return data + offset; }

 private:
  static constexpr unsigned kTypeShift = 28;
  static constexpr uint32_t kReadOnly = 1U << 31;
};
static_assert(sizeof(Dynptr) == 16);

}  // namespace skep::vm
