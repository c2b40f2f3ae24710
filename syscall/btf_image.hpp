#pragma once

#include <linux/btf.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "skep/error.hpp"

namespace skep::sys {

inline constexpr uint32_t kMaxBtfSize = 16 << 20;  // BTF_MAX_SIZE

// A type's row in BTF: struct btf_type and what follows it.
struct BtfType {
  uint32_t name = 0;
  uint32_t info = 0;
  uint32_t size_or_type = 0;
  std::span<const uint32_t> extra;  // in words

  uint32_t kind() const { return BTF_INFO_KIND(info); }
  uint32_t count() const { return BTF_INFO_VLEN(info); }
  bool flag() const { return BTF_INFO_KFLAG(info); }
};

// Valid BTF (Documentation/bpf/btf.rst; the checks are those of kernel/bpf/btf.c): every reference is in
// range and of the right kind, nothing contains itself. Immutable.
class BtfImage {
 public:
  // EINVAL: malformed. ENOTSUPP (524): another version, or an unknown integer encoding. E2BIG: a longer
  // header than is known, or types nested too deep. EEXIST: a loop. The message says which type and why.
  static Result<BtfImage> parse(std::vector<std::byte> raw);

  std::span<const std::byte> raw() const { return raw_; }
  // Type ids are below this; 0 is void.
  uint32_t types() const { return static_cast<uint32_t>(offsets_.size()); }
  BtfType type(uint32_t id) const;  // id < types()
  // A string by its offset, or nullopt.
  std::optional<std::string_view> string(uint32_t offset) const;
  // The type without its modifiers; the id may be any.
  std::optional<uint32_t> base(uint32_t id) const;
  // The size of a value of the type (btf_type_id_size); nullopt: it has none.
  std::optional<uint32_t> size_of(uint32_t id) const;

 private:
  friend class BtfChecker;
  BtfImage() = default;

  std::vector<std::byte> raw_;
  std::vector<uint32_t> words_;    // the type section
  std::vector<uint32_t> offsets_;  // in words, by id; the first is void's and means nothing
  std::vector<uint32_t> base_;     // by id
  std::vector<uint32_t> array_size_;
  uint32_t strings_begin_ = 0;  // in raw_
  uint32_t strings_size_ = 0;
};

}  // namespace skep::sys
