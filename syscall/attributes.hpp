#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace skep::sys {

// The size of union bpf_attr in Linux 6.12, whose ABI this is; <linux/bpf.h> may be older.
inline constexpr uint32_t kAttributesSize = 152;

// What newer headers than Debian 12's declare.
inline constexpr uint32_t kMapTokenFd = 76;                // offset of map_token_fd
inline constexpr uint32_t kLogTrueSize = 140;              // of log_true_size
inline constexpr uint32_t kProgTokenFd = 144;              // of prog_token_fd
inline constexpr uint32_t kBtfLogTrueSize = 28;            // of btf_log_true_size
inline constexpr uint32_t kBtfFlags = 32;                  // of btf_flags
inline constexpr uint32_t kBtfTokenFd = 36;                // of btf_token_fd
inline constexpr uint32_t kPathFd = 16;                    // of path_fd
inline constexpr uint32_t kFlagPathFd = 1U << 14;          // BPF_F_PATH_FD
inline constexpr uint32_t kFlagTokenFd = 1U << 16;         // BPF_F_TOKEN_FD
inline constexpr uint32_t kFlagXdpDevBoundOnly = 1U << 6;  // BPF_F_XDP_DEV_BOUND_ONLY
inline constexpr uint32_t kFlagRegInvariants = 1U << 7;    // BPF_F_TEST_REG_INVARIANTS

// A caller's attributes, with zeros where it gave none.
class Attributes {
 public:
  const bpf_attr& get() const { return *reinterpret_cast<const bpf_attr*>(bytes_.data()); }
  // A field that the header may not have.
  uint32_t word(uint32_t offset) const {
    uint32_t value = 0;
    std::memcpy(&value, &bytes_[offset], sizeof value);
    return value;
  }
  // Whether everything from `end` on is zero (CHECK_ATTR of kernel/bpf/syscall.c).
  bool ends_at(uint32_t end) const {
    for (uint32_t i = end; i < kAttributesSize; ++i)
      if (bytes_[i] != std::byte{0}) return false;
    return true;
  }
  std::byte* data() { return bytes_.data(); }

 private:
  alignas(bpf_attr) std::array<std::byte, kAttributesSize> bytes_{};
};
static_assert(sizeof(bpf_attr) <= kAttributesSize);

}  // namespace skep::sys
