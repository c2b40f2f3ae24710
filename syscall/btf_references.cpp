#include <algorithm>
#include <cerrno>
#include <limits>

#include "syscall/btf_checker.hpp"

// The second half of BtfChecker: what a type says of other types.
namespace skep::sys {
namespace {

constexpr unsigned kMaxDepth = 32;  // MAX_RESOLVE_DEPTH

bool is_modifier(uint32_t kind) {
  return kind == BTF_KIND_TYPEDEF || kind == BTF_KIND_VOLATILE || kind == BTF_KIND_CONST ||
         kind == BTF_KIND_RESTRICT || kind == BTF_KIND_TYPE_TAG;
}
bool is_struct(uint32_t kind) { return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION; }
// What only stands at the beginning of a chain of references (btf_type_is_resolve_source_only).
bool is_source_only(uint32_t kind) {
  return kind == BTF_KIND_VAR || kind == BTF_KIND_DATASEC || kind == BTF_KIND_DECL_TAG;
}

}  // namespace

// Every walk goes either through pointers, which end at what they point at, or through members and elements,
// which end at pointers: a structure may point at itself, but not contain itself. Types done before end a
// walk, so the depth is that of references to types still to come.
Result<void> BtfChecker::resolve(uint32_t id, Through through, unsigned depth) {
  if (visits_[id] == Visit::kDone) return {};
  if (visits_[id] == Visit::kOnStack) return refuse(id, "Loop detected", EEXIST);
  if (depth >= kMaxDepth) return refuse(id, "Exceeded max resolving depth:32", E2BIG);
  visits_[id] = Visit::kOnStack;
  const BtfType type = image_.type(id);
  const uint32_t kind = type.kind();
  if (through == Through::kUndecided) {
    if (kind == BTF_KIND_PTR) through = Through::kPointers;
    if (kind == BTF_KIND_ARRAY || is_struct(kind)) through = Through::kMembers;
  }
  if (is_modifier(kind) || kind == BTF_KIND_PTR || kind == BTF_KIND_VAR) {
    if (auto done = follow(id, type.size_or_type, through, depth); !done) return done;
    if (kind != BTF_KIND_PTR) image_.base_[id] = image_.base_[type.size_or_type];
  } else if (kind == BTF_KIND_ARRAY) {
    for (const uint32_t to : {type.extra[1], type.extra[0]})
      if (auto done = follow(id, to, through, depth); !done) return done;
  } else if (is_struct(kind)) {
    for (uint32_t i = 0; i < type.count(); ++i)
      if (auto done = follow(id, type.extra[size_t{i} * 3 + 1], through, depth); !done) return done;
  }
  visits_[id] = Visit::kDone;
  return {};
}

Result<void> BtfChecker::follow(uint32_t id, uint32_t to, Through through, unsigned depth) {
  if (to >= image_.types() || is_source_only(kind_of(to))) return refuse(id, "Invalid type_id");
  if (to == 0) return {};
  const uint32_t kind = kind_of(to);
  const bool member = is_modifier(kind) || kind == BTF_KIND_ARRAY || is_struct(kind);
  const bool pointer = is_modifier(kind) || kind == BTF_KIND_PTR;
  const bool goes_on = through == Through::kPointers  ? pointer
                       : through == Through::kMembers ? member
                                                      : member || pointer;
  return goes_on ? resolve(to, through, depth + 1) : Result<void>{};
}

bool BtfChecker::regular_int(uint32_t id) const {
  const uint32_t of = image_.base_[id];
  if (kind_of(of) != BTF_KIND_INT) return false;
  const BtfType type = image_.type(of);
  const uint32_t bits = BTF_INT_BITS(type.extra[0]);
  return BTF_INT_OFFSET(type.extra[0]) == 0 && bits == type.size_or_type * 8 &&
         (bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128);
}

Result<void> BtfChecker::check_references(uint32_t id) {
  const BtfType type = image_.type(id);
  switch (type.kind()) {
    case BTF_KIND_PTR:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_CONST:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_TYPE_TAG: {
      const uint32_t to = image_.base_[type.size_or_type];
      if (kind_of(to) == BTF_KIND_FUNC) return refuse(id, "Invalid type_id");
      return {};
    }
    case BTF_KIND_ARRAY:
      return check_array(id, type);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return check_member_types(id, type);
    case BTF_KIND_VAR:
      if (!image_.size_of(type.size_or_type)) return refuse(id, "Invalid type_id");
      return {};
    case BTF_KIND_DATASEC:
      return check_variables(id, type);
    case BTF_KIND_FUNC_PROTO:
      return check_prototype(id, type);
    case BTF_KIND_FUNC:
      return check_function(id, type);
    case BTF_KIND_DECL_TAG:
      return check_tag(id, type);
    default:
      return {};
  }
}

Result<void> BtfChecker::check_array(uint32_t id, const BtfType& type) {
  if (!regular_int(type.extra[1])) return refuse(id, "Invalid index");
  // An element that is an array itself was made before, or has its size computed here first.
  const uint32_t element = image_.base_[type.extra[0]];
  if (kind_of(element) == BTF_KIND_ARRAY && element > id)
    if (auto done = check_array(element, image_.type(element)); !done) return done;
  const auto size = image_.size_of(element);
  if (!size) return refuse(id, "Invalid elem");
  if (kind_of(element) == BTF_KIND_INT && !regular_int(element)) return refuse(id, "Invalid array of int");
  const uint32_t count = type.extra[2];
  if (count != 0 && *size > std::numeric_limits<uint32_t>::max() / count)
    return refuse(id, "Array size overflows u32");
  image_.array_size_[id] = *size * count;
  return {};
}

Result<void> BtfChecker::check_member_types(uint32_t id, const BtfType& type) {
  for (uint32_t i = 0; i < type.count(); ++i)
    if (auto done = check_member_place(id, type, &type.extra[size_t{i} * 3]); !done) return done;
  return {};
}

Result<void> BtfChecker::check_member_place(uint32_t id, const BtfType& type, const uint32_t* member) {
  const uint32_t of = image_.base_[member[1]];
  if (kind_of(of) == BTF_KIND_ARRAY && of > id)
    if (auto done = check_array(of, image_.type(of)); !done) return done;
  const auto size = image_.size_of(of);
  if (!size) return refuse(id, "Invalid member type_id");
  const uint32_t kind = kind_of(of);
  const uint64_t offset = type.flag() ? BTF_MEMBER_BIT_OFFSET(member[2]) : member[2];
  const uint32_t bitfield = type.flag() ? BTF_MEMBER_BITFIELD_SIZE(member[2]) : 0;
  const bool has_bits =
      kind == BTF_KIND_INT || (type.flag() && (kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64));
  if (!has_bits) {
    if (bitfield != 0) return refuse(id, "Invalid member bitfield_size");
    if (offset % 8 != 0) return refuse(id, "Member is not byte aligned");
    if (offset / 8 + *size > type.size_or_type) return refuse(id, "Member exceeds struct_size");
    return {};
  }
  uint64_t begin = offset;
  uint64_t bits = bitfield;
  if (bits == 0) {
    if (kind == BTF_KIND_INT) {
      const uint32_t data = image_.type(of).extra[0];
      if (type.flag() && (!regular_int(of) || offset % 8 != 0)) return refuse(id, "Invalid member offset");
      begin += BTF_INT_OFFSET(data);
      bits = BTF_INT_BITS(data);
    } else {
      if (offset % 8 != 0) return refuse(id, "Invalid member offset");
      bits = uint64_t{*size} * 8;
    }
  } else if (bits > uint64_t{*size} * 8) {
    return refuse(id, "Invalid member bitfield_size");
  }
  if (begin % 8 + bits > 128) return refuse(id, "nr_copy_bits exceeds 128");
  if ((begin + bits + 7) / 8 > type.size_or_type) return refuse(id, "Member exceeds struct_size");
  return {};
}

Result<void> BtfChecker::check_variables(uint32_t id, const BtfType& type) {
  for (uint32_t i = 0; i < type.count(); ++i) {
    const uint32_t* variable = &type.extra[size_t{i} * 3];  // type, offset, size
    if (variable[0] >= image_.types() || kind_of(variable[0]) != BTF_KIND_VAR)
      return refuse(id, "Not a VAR kind member");
    const auto size = image_.size_of(variable[0]);
    if (!size || variable[2] < *size) return refuse(id, "Invalid size");
  }
  return {};
}

Result<void> BtfChecker::check_prototype(uint32_t id, const BtfType& type) {
  const uint32_t returned = type.size_or_type;
  if (returned >= image_.types() || is_source_only(kind_of(returned)))
    return refuse(id, "Invalid return type");
  if (returned != 0 && image_.base_[returned] != 0 && !image_.size_of(returned))
    return refuse(id, "Invalid return type");
  uint32_t count = type.count();
  if (count != 0 && type.extra[size_t{count - 1} * 2 + 1] == 0) {
    if (type.extra[size_t{count - 1} * 2] != 0) return refuse(id, "Invalid arg: a vararg has no name");
    --count;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t name = type.extra[size_t{i} * 2];
    const uint32_t of = type.extra[size_t{i} * 2 + 1];
    if (of == 0 || of >= image_.types() || is_source_only(kind_of(of))) return refuse(id, "Invalid arg type");
    if (name != 0 && !valid_identifier(name)) return refuse(id, "Invalid arg name");
    if (!image_.size_of(of)) return refuse(id, "Invalid arg type");
  }
  return {};
}

Result<void> BtfChecker::check_function(uint32_t id, const BtfType& type) {
  if (type.size_or_type >= image_.types() || kind_of(type.size_or_type) != BTF_KIND_FUNC_PROTO)
    return refuse(id, "Invalid type_id");
  const BtfType prototype = image_.type(type.size_or_type);
  for (uint32_t i = 0; i < prototype.count(); ++i)
    if (prototype.extra[size_t{i} * 2] == 0 && prototype.extra[size_t{i} * 2 + 1] != 0)
      return refuse(id, "Invalid arg: it has no name");
  return {};
}

Result<void> BtfChecker::check_tag(uint32_t id, const BtfType& type) {
  const uint32_t of = type.size_or_type;
  const uint32_t kind = of < image_.types() ? kind_of(of) : 0;
  if (kind != BTF_KIND_FUNC && !is_struct(kind) && kind != BTF_KIND_VAR && kind != BTF_KIND_TYPEDEF)
    return refuse(id, "Invalid type_id");
  const auto component = static_cast<int32_t>(type.extra[0]);
  if (component == -1) return {};
  uint32_t count = 0;
  if (is_struct(kind)) {
    count = image_.type(of).count();
  } else if (kind == BTF_KIND_FUNC) {
    const uint32_t prototype = image_.type(of).size_or_type;
    if (prototype < image_.types()) count = image_.type(prototype).count();
  } else {
    return refuse(id, "Invalid component_idx");
  }
  if (static_cast<uint32_t>(component) >= count) return refuse(id, "Invalid component_idx");
  return {};
}

}  // namespace skep::sys
