#pragma once

#include <linux/btf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::test {

// BTF put together by hand, right or wrong.
class BtfBytes {
 public:
  BtfBytes() : strings_(1, '\0') {}

  uint32_t string(std::string_view text) {
    const auto offset = static_cast<uint32_t>(strings_.size());
    strings_ += text;
    strings_ += '\0';
    return offset;
  }
  // A row; returns its type id.
  uint32_t type(uint32_t name, uint32_t kind, uint32_t count, uint32_t size_or_type,
                std::initializer_list<uint32_t> extra = {}, bool flag = false) {
    words_.insert(words_.end(), {name, kind << 24 | count | (flag ? 1U << 31 : 0), size_or_type});
    words_.insert(words_.end(), extra);
    return ++last_;
  }
  uint32_t integer(std::string_view name, uint32_t bytes) {
    return type(string(name), BTF_KIND_INT, 0, bytes, {bytes * 8});
  }

  btf_header header{BTF_MAGIC, BTF_VERSION, 0, sizeof(btf_header), 0, 0, 0, 0};

  // With the header's lengths and offsets filled in, where they are not given.
  std::vector<std::byte> bytes() const {
    btf_header out = header;
    if (out.type_len == 0) out.type_len = static_cast<uint32_t>(words_.size() * 4);
    if (out.str_off == 0) out.str_off = static_cast<uint32_t>(words_.size() * 4);
    if (out.str_len == 0) out.str_len = static_cast<uint32_t>(strings_.size());
    std::vector<std::byte> result(sizeof out + words_.size() * 4 + strings_.size());
    std::memcpy(result.data(), &out, sizeof out);
    const auto words = std::as_bytes(std::span(words_));
    const auto strings = std::as_bytes(std::span(strings_));
    std::ranges::copy(strings, std::ranges::copy(words, result.begin() + sizeof out).out);
    return result;
  }

 private:
  std::vector<uint32_t> words_;
  std::string strings_;
  uint32_t last_ = 0;
};

}  // namespace skep::test
