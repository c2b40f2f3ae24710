#include "syscall/btf_image.hpp"

#include <limits>

#include "syscall/btf_checker.hpp"

namespace skep::sys {

Result<BtfImage> BtfImage::parse(std::vector<std::byte> raw) { return BtfChecker().run(std::move(raw)); }

BtfType BtfImage::type(uint32_t id) const {
  const uint32_t* row = &words_[offsets_[id]];
  const size_t end = id + 1 < offsets_.size() ? offsets_[id + 1] : words_.size();
  return {row[0], row[1], row[2], {row + 3, words_.data() + end}};
}

std::optional<std::string_view> BtfImage::string(uint32_t offset) const {
  if (offset >= strings_size_) return std::nullopt;
  return reinterpret_cast<const char*>(raw_.data() + strings_begin_ + offset);  // the section ends in NUL
}

std::optional<uint32_t> BtfImage::base(uint32_t id) const {
  if (id >= types()) return std::nullopt;
  return base_[id];
}

std::optional<uint32_t> BtfImage::size_of(uint32_t id) const {
  const auto of = base(id);
  if (!of || *of == 0) return std::nullopt;
  const BtfType row = type(*of);
  switch (row.kind()) {
    case BTF_KIND_INT:
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
    case BTF_KIND_FLOAT:
    case BTF_KIND_DATASEC:
      return row.size_or_type;
    case BTF_KIND_PTR:
      return sizeof(void*);
    case BTF_KIND_ARRAY:
      return array_size_[*of];
    default:
      return std::nullopt;
  }
}

}  // namespace skep::sys
