#include "syscall/btf_checker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

namespace skep::sys {
namespace {

constexpr int kNotSupported = 524;
constexpr uint32_t kMaxType = 0x000fffff;        // BTF_MAX_TYPE
constexpr uint32_t kMaxNameOffset = 0x00ffffff;  // BTF_MAX_NAME_OFFSET
constexpr uint32_t kInfoMask = 0x9f00ffff;       // BTF_INFO_MASK
constexpr uint32_t kIntMask = 0x0fffffff;        // BTF_INT_MASK
constexpr size_t kMaxNameLength = 512;           // KSYM_NAME_LEN
constexpr uint32_t kMaxIntBits = 128;

enum class Name : uint8_t { kAny, kNone, kOptional, kIdentifier, kNonEmpty, kSection };
enum class Count : uint8_t { kNone, kElements, kLinkage };
enum class Field : uint8_t { kSize, kReference, kZero, kAnything };

// What a row of a kind has to look like by itself.
struct KindRow {
  const char* name;
  uint8_t fixed_words;    // after struct btf_type
  uint8_t element_words;  // for each of vlen
  Name rule;
  Count count;
  bool flag;
  Field field;  // size_or_type
};

constexpr std::array kKinds = std::to_array<KindRow>({
    {"VOID", 0, 0, Name::kAny, Count::kNone, false, Field::kAnything},
    {"INT", 1, 0, Name::kAny, Count::kNone, false, Field::kSize},
    {"PTR", 0, 0, Name::kNone, Count::kNone, false, Field::kReference},
    {"ARRAY", 3, 0, Name::kNone, Count::kNone, false, Field::kZero},
    {"STRUCT", 0, 3, Name::kOptional, Count::kElements, true, Field::kSize},
    {"UNION", 0, 3, Name::kOptional, Count::kElements, true, Field::kSize},
    {"ENUM", 0, 2, Name::kOptional, Count::kElements, true, Field::kSize},
    {"FWD", 0, 0, Name::kIdentifier, Count::kNone, true, Field::kZero},
    {"TYPEDEF", 0, 0, Name::kIdentifier, Count::kNone, false, Field::kReference},
    {"VOLATILE", 0, 0, Name::kNone, Count::kNone, false, Field::kReference},
    {"CONST", 0, 0, Name::kNone, Count::kNone, false, Field::kReference},
    {"RESTRICT", 0, 0, Name::kNone, Count::kNone, false, Field::kReference},
    {"FUNC", 0, 0, Name::kIdentifier, Count::kLinkage, false, Field::kReference},
    {"FUNC_PROTO", 0, 2, Name::kNone, Count::kElements, false, Field::kReference},
    {"VAR", 1, 0, Name::kIdentifier, Count::kNone, false, Field::kReference},
    {"DATASEC", 0, 3, Name::kSection, Count::kElements, false, Field::kSize},
    {"FLOAT", 0, 0, Name::kAny, Count::kNone, false, Field::kSize},
    {"DECL_TAG", 1, 0, Name::kNonEmpty, Count::kNone, false, Field::kReference},
    {"TYPE_TAG", 0, 0, Name::kNonEmpty, Count::kNone, false, Field::kReference},
    {"ENUM64", 0, 3, Name::kOptional, Count::kElements, true, Field::kSize},
});

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_printable(char c) { return c >= ' ' && c <= '~'; }

uint32_t member_bit_offset(const BtfType& type, const uint32_t* member) {
  return type.flag() ? BTF_MEMBER_BIT_OFFSET(member[2]) : member[2];
}
uint64_t bytes_of_bits(uint64_t bits) { return (bits + 7) / 8; }

}  // namespace

std::unexpected<Error> BtfChecker::refuse(uint32_t id, const char* why, int code) const {
  const uint32_t kind = kind_of(id);
  const auto name = image_.string(image_.type(id).name);
  return fail(code, fmt::format("[{}] {} {}: {}", id, kind < kKinds.size() ? kKinds[kind].name : "?",
                                name && !name->empty() ? *name : "(anon)", why));
}

Result<BtfImage> BtfChecker::run(std::vector<std::byte> raw) {
  image_.raw_ = std::move(raw);
  if (auto done = check_header(); !done) return std::unexpected(done.error());
  visits_.assign(image_.types(), Visit::kNo);
  image_.base_.resize(image_.types());
  image_.array_size_.assign(image_.types(), 0);
  for (uint32_t id = 0; id < image_.types(); ++id) image_.base_[id] = id;
  for (uint32_t id = 1; id < image_.types(); ++id)
    if (auto done = resolve(id, Through::kUndecided, 0); !done) return std::unexpected(done.error());
  for (uint32_t id = 1; id < image_.types(); ++id)
    if (auto done = check_references(id); !done) return std::unexpected(done.error());
  return std::move(image_);
}

Result<void> BtfChecker::check_header() {
  const size_t size = image_.raw_.size();
  btf_header header{};
  constexpr size_t kUpToLength = offsetof(btf_header, hdr_len) + sizeof(header.hdr_len);
  if (size < kUpToLength) return fail(EINVAL, "hdr_len not found");
  std::memcpy(&header, image_.raw_.data(), kUpToLength);
  if (size < header.hdr_len) return fail(EINVAL, "btf_header not found");
  if (header.hdr_len > sizeof header &&
      std::any_of(image_.raw_.begin() + sizeof header, image_.raw_.begin() + header.hdr_len,
                  [](std::byte b) { return b != std::byte{0}; }))
    return fail(E2BIG, "Unsupported btf_header");
  std::memcpy(&header, image_.raw_.data(), std::min<size_t>(header.hdr_len, sizeof header));
  if (header.magic != BTF_MAGIC) return fail(EINVAL, "Invalid magic");
  if (header.version != BTF_VERSION) return fail(kNotSupported, "Unsupported version");
  if (header.flags != 0) return fail(kNotSupported, "Unsupported flags");
  if (size == header.hdr_len) return fail(EINVAL, "No data");
  for (const auto step : {&BtfChecker::check_sections, &BtfChecker::check_strings, &BtfChecker::read_types})
    if (auto done = (this->*step)(header); !done) return done;
  return {};
}

Result<void> BtfChecker::check_sections(const btf_header& header) {
  struct Section {
    uint32_t begin;
    uint32_t size;
  };
  std::array<Section, 2> sections{{{header.type_off, header.type_len}, {header.str_off, header.str_len}}};
  if (sections[1].begin < sections[0].begin) std::swap(sections[0], sections[1]);
  const auto available = static_cast<uint32_t>(image_.raw_.size() - header.hdr_len);
  uint32_t total = 0;
  for (const Section& section : sections) {
    if (available < section.begin) return fail(EINVAL, "Invalid section offset");
    if (total < section.begin) return fail(EINVAL, "Unsupported section found");
    if (total > section.begin) return fail(EINVAL, "Section overlap found");
    if (available - total < section.size) return fail(EINVAL, "Total section length too long");
    total += section.size;
  }
  if (available != total) return fail(EINVAL, "Unsupported section found");
  return {};
}

Result<void> BtfChecker::check_strings(const btf_header& header) {
  const uint64_t begin = uint64_t{header.hdr_len} + header.str_off;
  if (begin + header.str_len != image_.raw_.size()) return fail(EINVAL, "String section is not at the end");
  if (header.str_len == 0 || header.str_len - 1 > kMaxNameOffset || image_.raw_.back() != std::byte{0} ||
      image_.raw_[begin] != std::byte{0})
    return fail(EINVAL, "Invalid string section");
  image_.strings_begin_ = static_cast<uint32_t>(begin);
  image_.strings_size_ = header.str_len;
  return {};
}

Result<void> BtfChecker::read_types(const btf_header& header) {
  if (header.type_off % 4 != 0) return fail(EINVAL, "Unaligned type_off");
  if (header.type_len == 0) return fail(EINVAL, "No type found");
  image_.words_.resize((size_t{header.type_len} + 3) / 4);
  std::memcpy(image_.words_.data(), image_.raw_.data() + header.hdr_len + header.type_off, header.type_len);
  image_.offsets_.push_back(0);
  for (uint32_t at = 0; at < header.type_len;) {
    const auto id = static_cast<uint32_t>(image_.offsets_.size());
    const uint32_t left = header.type_len - at;
    if (left < sizeof(btf_type))
      return fail(EINVAL, fmt::format("[{}] {} bytes left for a type's 12", id, left));
    if (id > kMaxType) return fail(E2BIG, "Too many types");
    image_.offsets_.push_back(at / 4);
    const auto words = check_row(id, image_.type(id), left - sizeof(btf_type));
    if (!words) return std::unexpected(words.error());
    at += static_cast<uint32_t>(sizeof(btf_type)) + *words * 4;
  }
  return {};
}

Result<uint32_t> BtfChecker::check_row(uint32_t id, const BtfType& type, size_t bytes_left) {
  if ((type.info & ~kInfoMask) != 0) return refuse(id, "Invalid btf_info");
  if (type.kind() == 0 || type.kind() >= kKinds.size()) return refuse(id, "Invalid kind");
  if (!image_.string(type.name)) return refuse(id, "Invalid name_offset");
  const KindRow& row = kKinds[type.kind()];
  const uint32_t words = row.fixed_words + row.element_words * type.count();
  if (bytes_left < size_t{words} * 4) return refuse(id, "Too few bytes left for the type");
  if (row.count == Count::kNone && type.count() != 0) return refuse(id, "vlen != 0");
  if (row.count == Count::kLinkage && type.count() > BTF_FUNC_GLOBAL)
    return refuse(id, "Invalid func linkage");
  if (!row.flag && type.flag()) return refuse(id, "Invalid btf_info kind_flag");
  if (row.field == Field::kReference && type.size_or_type > kMaxType) return refuse(id, "Invalid type_id");
  if (row.field == Field::kZero && type.size_or_type != 0) return refuse(id, "type or size != 0");
  BtfType bounded = type;
  bounded.extra = type.extra.first(words);
  if (auto done = check_name(id, bounded); !done) return std::unexpected(done.error());
  if (auto done = check_extra(id, bounded); !done) return std::unexpected(done.error());
  return words;
}

bool BtfChecker::valid_identifier(uint32_t name) const {
  const auto text = image_.string(name);
  if (!text || text->empty() || text->size() >= kMaxNameLength) return false;
  return is_letter(text->front()) &&
         std::ranges::all_of(*text, [](char c) { return is_letter(c) || is_digit(c); });
}

Result<void> BtfChecker::check_name(uint32_t id, const BtfType& type) {
  const std::string_view text = image_.string(type.name).value_or("");
  bool good = true;
  switch (kKinds[type.kind()].rule) {
    case Name::kAny:
      break;
    case Name::kNone:
      good = type.name == 0;
      break;
    case Name::kOptional:
      good = type.name == 0 || valid_identifier(type.name);
      break;
    case Name::kIdentifier:
      good = type.name != 0 && valid_identifier(type.name);
      break;
    case Name::kNonEmpty:
      good = !text.empty();
      break;
    case Name::kSection:
      good = !text.empty() && text.size() < kMaxNameLength && std::ranges::all_of(text, is_printable);
      break;
  }
  if (!good) return refuse(id, "Invalid name");
  return {};
}

Result<void> BtfChecker::check_extra(uint32_t id, const BtfType& type) {
  switch (type.kind()) {
    case BTF_KIND_INT:
      return check_int(id, type);
    case BTF_KIND_ARRAY:
      if (type.extra[0] == 0 || type.extra[0] > kMaxType) return refuse(id, "Invalid elem");
      if (type.extra[1] == 0 || type.extra[1] > kMaxType) return refuse(id, "Invalid index");
      return {};
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return check_members(id, type);
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
      return check_enumerators(id, type);
    case BTF_KIND_VAR:
      if (type.size_or_type == 0) return refuse(id, "Invalid type_id");
      if (type.extra[0] != BTF_VAR_STATIC && type.extra[0] != BTF_VAR_GLOBAL_ALLOCATED)
        return refuse(id, "Linkage not supported");
      return {};
    case BTF_KIND_DATASEC:
      return check_section_variables(id, type);
    case BTF_KIND_FLOAT:
      if (const uint32_t size = type.size_or_type;
          size != 2 && size != 4 && size != 8 && size != 12 && size != 16)
        return refuse(id, "Invalid type_size");
      return {};
    case BTF_KIND_DECL_TAG:
      if (static_cast<int32_t>(type.extra[0]) < -1) return refuse(id, "Invalid component_idx");
      return {};
    default:
      return {};
  }
}

Result<void> BtfChecker::check_int(uint32_t id, const BtfType& type) {
  const uint32_t data = type.extra[0];
  if ((data & ~kIntMask) != 0) return refuse(id, "Invalid int_data");
  const uint32_t bits = BTF_INT_BITS(data) + BTF_INT_OFFSET(data);
  if (bits > kMaxIntBits) return refuse(id, "nr_bits exceeds 128");
  if (bytes_of_bits(bits) > type.size_or_type) return refuse(id, "nr_bits exceeds type_size");
  const uint32_t encoding = BTF_INT_ENCODING(data);
  if (encoding != 0 && encoding != BTF_INT_SIGNED && encoding != BTF_INT_CHAR && encoding != BTF_INT_BOOL)
    return refuse(id, "Unsupported encoding", kNotSupported);
  return {};
}

Result<void> BtfChecker::check_members(uint32_t id, const BtfType& type) {
  uint32_t last = 0;
  for (uint32_t i = 0; i < type.count(); ++i) {
    const uint32_t* member = &type.extra[size_t{i} * 3];  // name, type, offset
    if (!image_.string(member[0])) return refuse(id, "Invalid member name_offset");
    if (member[0] != 0 && !valid_identifier(member[0])) return refuse(id, "Invalid member name");
    if (member[1] == 0 || member[1] > kMaxType) return refuse(id, "Invalid member type_id");
    const uint32_t offset = member_bit_offset(type, member);
    if (type.kind() == BTF_KIND_UNION && offset != 0) return refuse(id, "Invalid member bits_offset");
    if (offset < last) return refuse(id, "Invalid member bits_offset");
    if (bytes_of_bits(offset) > type.size_or_type)
      return refuse(id, "Member bits_offset exceeds its struct size");
    last = offset;
  }
  return {};
}

Result<void> BtfChecker::check_enumerators(uint32_t id, const BtfType& type) {
  if (type.size_or_type > 8 || !std::has_single_bit(type.size_or_type)) return refuse(id, "Unexpected size");
  const size_t words = kKinds[type.kind()].element_words;
  for (uint32_t i = 0; i < type.count(); ++i) {
    const uint32_t name = type.extra[i * words];
    if (!image_.string(name)) return refuse(id, "Invalid name_offset");
    if (name == 0 || !valid_identifier(name)) return refuse(id, "Invalid name");
  }
  return {};
}

Result<void> BtfChecker::check_section_variables(uint32_t id, const BtfType& type) {
  const uint32_t size = type.size_or_type;
  if (size == 0) return refuse(id, "size == 0");
  uint64_t end = 0;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < type.count(); ++i) {
    const uint32_t* variable = &type.extra[size_t{i} * 3];  // type, offset, size
    if (variable[0] == 0 || variable[0] > kMaxType) return refuse(id, "Invalid type_id");
    if (variable[1] < end || variable[1] >= size) return refuse(id, "Invalid offset");
    if (variable[2] == 0 || variable[2] > size) return refuse(id, "Invalid size");
    end = uint64_t{variable[1]} + variable[2];
    if (end > size) return refuse(id, "Invalid offset+size");
    sum += variable[2];
  }
  if (size < sum) return refuse(id, "Invalid btf_info size");
  return {};
}

}  // namespace skep::sys
