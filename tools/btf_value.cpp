#include "tools/btf_value.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

namespace skep::tools {
namespace {

using Json = nlohmann::ordered_json;
using Bytes = std::span<const std::byte>;

constexpr int kMaxDepth = 32;  // as deep as libbpf follows types
constexpr size_t kLineLength = 200;

std::string hex(Bytes bytes, std::string_view separator) {
  std::string out;
  for (const std::byte byte : bytes)
    fmt::format_to(std::back_inserter(out), "{}{:02x}", out.empty() ? "" : separator,
                   std::to_integer<unsigned>(byte));
  return out;
}

bool is_reference(const btf_type* type) {
  return btf_is_mod(type) || btf_is_typedef(type) || btf_is_var(type);
}

// The type behind typedefs, qualifiers and variables; nullptr if there is none.
const btf_type* resolve(const btf* types, uint32_t id) {
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    const btf_type* type = btf__type_by_id(types, id);
    if (!type || btf_is_void(type)) return nullptr;
    if (!is_reference(type)) return type;
    id = type->type;
  }
  return nullptr;
}

struct BitRange {
  size_t first = 0;
  size_t count = 0;

  size_t end() const { return first + count; }
  bool lies_in(Bytes bytes) const { return end() <= bytes.size() * 8; }
};

// Up to 64 bits, the lowest first.
uint64_t read_bits(Bytes bytes, BitRange bits) {
  uint64_t value = 0;
  for (size_t i = 0; i < bits.count; ++i) {
    const size_t bit = bits.first + i;
    const auto set = std::to_integer<uint64_t>(bytes[bit / 8] >> (bit % 8)) & 1;
    value |= set << i;
  }
  return value;
}

int64_t sign_extended(uint64_t value, size_t bits) {
  const auto shift = static_cast<unsigned>(64 - bits);
  return static_cast<int64_t>(value << shift) >> shift;
}

Json integer(uint64_t value, size_t bits, bool is_signed) {
  return is_signed ? Json(sign_extended(value, bits)) : Json(value);
}

bool is_printable(char c) { return (c >= ' ' && c <= '~') || c == '\t' || c == '\n' || c == '\r'; }

class Decoder {
 public:
  explicit Decoder(const btf* types) : types_(types) {}

  Json value(uint32_t id, Bytes bytes, int depth) const {
    const btf_type* type = resolve(types_, id);
    const int64_t size = btf__resolve_size(types_, id);
    if (!type || size < 0 || static_cast<size_t>(size) > bytes.size() || depth > kMaxDepth)
      return hex(bytes, "");
    const Bytes own = bytes.first(static_cast<size_t>(size));
    switch (btf_kind(type)) {
      case BTF_KIND_STRUCT:
      case BTF_KIND_UNION: {
        Json out = Json::object();
        add_members(out, type, own, depth);
        return out;
      }
      case BTF_KIND_DATASEC:
        return variables(type, own, depth);
      case BTF_KIND_ARRAY:
        return array(btf_array(type), own, depth);
      case BTF_KIND_FLOAT:
        return floating(own);
      default:
        return scalar(type, own, {0, own.size() * 8});
    }
  }

 private:
  // Integers, enumerations and pointers, which may be bit fields.
  Json scalar(const btf_type* type, Bytes bytes, BitRange bits) const {
    if (bits.count == 0 || bits.count > 64 || !bits.lies_in(bytes)) return hex(bytes, "");
    const uint64_t value = read_bits(bytes, bits);
    switch (btf_kind(type)) {
      case BTF_KIND_INT:
        if (btf_int_encoding(type) & BTF_INT_BOOL) return value != 0;
        return integer(value, bits.count, btf_int_encoding(type) & BTF_INT_SIGNED);
      case BTF_KIND_ENUM:
      case BTF_KIND_ENUM64:
        return enumerator(type, value, bits.count);
      case BTF_KIND_PTR:
        return value;
      default:
        return hex(bytes, "");
    }
  }

  Json enumerator(const btf_type* type, uint64_t value, size_t bits) const {
    const bool is_signed = btf_kflag(type);
    const uint64_t wanted = is_signed ? static_cast<uint64_t>(sign_extended(value, bits)) : value;
    for (uint32_t i = 0; i < btf_vlen(type); ++i) {
      uint64_t known = 0;
      uint32_t name = 0;
      if (btf_is_enum64(type)) {
        const auto* entry = reinterpret_cast<const uint32_t*>(btf_enum64(type)) + i * size_t{3};
        known = btf_enum64_value(reinterpret_cast<const struct btf_enum64*>(entry));
        name = entry[0];
      } else {
        const struct btf_enum& entry = btf_enum(type)[i];
        known = is_signed ? static_cast<uint64_t>(int64_t{entry.val}) : static_cast<uint32_t>(entry.val);
        name = entry.name_off;
      }
      if (known == wanted) return name_at(name);
    }
    return integer(value, bits, is_signed);
  }

  static Json floating(Bytes bytes) {
    if (bytes.size() == sizeof(float)) {
      float value = 0;
      std::memcpy(&value, bytes.data(), sizeof value);
      return value;
    }
    if (bytes.size() == sizeof(double)) {
      double value = 0;
      std::memcpy(&value, bytes.data(), sizeof value);
      return value;
    }
    return hex(bytes, "");
  }

  bool is_char(uint32_t id) const {
    const btf_type* type = resolve(types_, id);
    return type && btf_is_int(type) && type->size == 1 &&
           ((btf_int_encoding(type) & BTF_INT_CHAR) || name_at(type->name_off) == "char");
  }

  Json array(const struct btf_array* array, Bytes bytes, int depth) const {
    if (is_char(array->type)) {
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      const std::string_view until_nul = text.substr(0, text.find('\0'));
      if (!text.empty() && std::ranges::all_of(until_nul, is_printable)) return until_nul;
    }
    Json out = Json::array();
    const int64_t size = btf__resolve_size(types_, array->type);
    if (size <= 0) return out;  // there may be billions of them
    for (size_t at = 0; at + static_cast<size_t>(size) <= bytes.size(); at += static_cast<size_t>(size))
      out.push_back(value(array->type, bytes.subspan(at, static_cast<size_t>(size)), depth + 1));
    return out;
  }

  Json variables(const btf_type* section, Bytes bytes, int depth) const {
    Json out = Json::object();
    for (const btf_var_secinfo& info : std::span(btf_var_secinfos(section), btf_vlen(section))) {
      const btf_type* variable = btf__type_by_id(types_, info.type);
      if (!variable || info.offset > bytes.size()) continue;
      const Bytes rest = bytes.subspan(info.offset);
      out[name_at(variable->name_off)] =
          value(info.type, rest.first(std::min<size_t>(info.size, rest.size())), depth + 1);
    }
    return out;
  }

  void add_members(Json& out, const btf_type* composite, Bytes bytes, int depth) const {
    if (depth > kMaxDepth) return;
    for (uint32_t i = 0; i < btf_vlen(composite); ++i) {
      const btf_member& member = btf_members(composite)[i];
      const size_t first = btf_member_bit_offset(composite, i);
      const btf_type* type = resolve(types_, member.type);
      if (!type || first / 8 > bytes.size()) continue;
      const std::string name = name_at(member.name_off);
      if (const BitRange bits = bit_field(composite, i, type); bits.count != 0)
        out[name] = bit_field_value(type, bytes, bits);
      else if (name.empty() && btf_is_composite(type))
        add_members(out, type, bytes.subspan(first / 8), depth + 1);
      else
        out[name] = value(member.type, bytes_of_member(member, bytes.subspan(first / 8)), depth + 1);
    }
  }

  // Bit fields are marked in the structure; before Linux 4.20 (kind_flag), in an integer type of their own.
  static BitRange bit_field(const btf_type* composite, uint32_t member, const btf_type* type) {
    const size_t first = btf_member_bit_offset(composite, member);
    if (const size_t count = btf_member_bitfield_size(composite, member); count != 0) return {first, count};
    if (!btf_is_int(type)) return first % 8 == 0 ? BitRange{} : BitRange{first, type->size * size_t{8}};
    const bool whole = btf_int_bits(type) == type->size * 8 && btf_int_offset(type) == 0 && first % 8 == 0;
    return whole ? BitRange{} : BitRange{first + btf_int_offset(type), btf_int_bits(type)};
  }

  Json bit_field_value(const btf_type* type, Bytes bytes, BitRange bits) const {
    if (!bits.lies_in(bytes)) return hex(bytes, "");
    const size_t byte = bits.first / 8;
    return scalar(type, bytes.subspan(byte, (bits.end() + 7) / 8 - byte), {bits.first % 8, bits.count});
  }

  // Of a type without a size, all there is.
  Bytes bytes_of_member(const btf_member& member, Bytes rest) const {
    const int64_t size = btf__resolve_size(types_, member.type);
    return size < 0 ? rest : rest.first(std::min(static_cast<size_t>(size), rest.size()));
  }

  std::string name_at(uint32_t offset) const {
    const char* name = btf__name_by_offset(types_, offset);
    return name ? name : "";
  }

  const btf* types_;
};

void append_formatted(void* context, const char* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  if (length > 0) {
    std::string piece(static_cast<size_t>(length), '\0');
    std::vsnprintf(piece.data(), piece.size() + 1, format, again);
    *static_cast<std::string*>(context) += piece;
  }
  va_end(again);
}

// Whether there are fields in it.
bool has_names(const btf* types, uint32_t id) {
  const btf_type* type = resolve(types, id);
  for (int depth = 0; type && btf_is_array(type) && depth < kMaxDepth; ++depth)
    type = resolve(types, btf_array(type)->type);
  return type && (btf_is_composite(type) || btf_is_datasec(type));
}

// libbpf would print a declaration of the variable.
uint32_t without_variable(const btf* types, uint32_t id) {
  const btf_type* type = btf__type_by_id(types, id);
  return type && btf_is_var(type) ? type->type : id;
}

// Empty: libbpf cannot print it.
std::string dump(const btf* types, uint32_t id, Bytes bytes, bool compact) {
  std::string text;
  using Dump = std::unique_ptr<btf_dump, decltype([](btf_dump* dump) { btf_dump__free(dump); })>;
  const Dump dump(btf_dump__new(types, append_formatted, &text, nullptr));
  if (!dump) return {};
  btf_dump_type_data_opts options{};
  options.sz = sizeof options;
  options.indent_str = "  ";
  options.compact = compact;
  options.skip_names = !has_names(types, id);
  options.emit_zeroes = true;
  if (btf_dump__dump_type_data(dump.get(), id, bytes.data(), bytes.size(), &options) < 0) return {};
  return text;
}

}  // namespace

Json to_json(const btf* btf, uint32_t type_id, Bytes bytes) {
  if (!btf || type_id == 0) return hex(bytes, "");
  return Decoder(btf).value(type_id, bytes, 0);
}

std::string to_text(const btf* btf, uint32_t type_id, Bytes bytes) {
  if (!btf || type_id == 0 || !resolve(btf, type_id)) return to_hex(bytes);
  type_id = without_variable(btf, type_id);
  std::string line = dump(btf, type_id, bytes, true);
  if (line.empty()) return to_hex(bytes);
  if (line.size() <= kLineLength || !has_names(btf, type_id)) return line;
  return dump(btf, type_id, bytes, false);
}

std::string to_hex(Bytes bytes) { return hex(bytes, " "); }

}  // namespace skep::tools
