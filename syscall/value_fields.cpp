#include "syscall/value_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace skep::sys {
namespace {

using maps::FieldKind;
using maps::FieldKinds;
using maps::ValueField;

constexpr unsigned kMaxDepth = 32;  // MAX_RESOLVE_DEPTH

// Fields by the name of their struct.
struct NamedKind {
  std::string_view name;
  FieldKind kind;
};
constexpr NamedKind kNamed[] = {
    {"bpf_spin_lock", FieldKind::kSpinLock}, {"bpf_timer", FieldKind::kTimer},
    {"bpf_wq", FieldKind::kWorkQueue},       {"bpf_list_head", FieldKind::kListHead},
    {"bpf_rb_root", FieldKind::kTreeRoot},   {"bpf_refcount", FieldKind::kRefcount}};

// Of which a value has one at most, and of which there may be an array.
constexpr FieldKinds kSingle{FieldKind::kSpinLock, FieldKind::kTimer, FieldKind::kWorkQueue,
                             FieldKind::kRefcount};
constexpr FieldKinds kGraphRoots{FieldKind::kListHead, FieldKind::kTreeRoot};

bool is_struct(const BtfType& type) { return type.kind() == BTF_KIND_STRUCT; }

// A member or a variable that may be a field.
struct Place {
  uint32_t owner = 0;  // the type it is a part of; of a variable the variable's
  int32_t index = -1;  // the member's, as tags name it
  uint32_t type = 0;   // its own
  uint32_t offset = 0;
  uint32_t expected = 0;  // a variable's size; 0: none was given
  unsigned depth = 0;
};

class Finder {
 public:
  explicit Finder(const BtfImage& btf) : btf_(btf) {}

  Result<maps::ValueFields> run(uint32_t type, uint32_t value_size) {
    const auto base = btf_.base(type);
    if (!base || *base == 0) return fail(EINVAL, "a value of no type");
    const uint32_t kind = btf_.type(*base).kind();
    Result<void> done = kind == BTF_KIND_STRUCT    ? members(*base, 0, 0)
                        : kind == BTF_KIND_DATASEC ? variables(*base)
                                                   : fail(EINVAL, "a value that is no struct");
    if (!done) return std::unexpected(done.error());
    if (auto good = check_order(value_size); !good) return std::unexpected(good.error());
    if (kinds().has_any(kGraphRoots) && !kinds().has(FieldKind::kSpinLock))
      return fail(EINVAL, "a list or tree in a value without bpf_spin_lock");
    return maps::ValueFields(found_);
  }

 private:
  std::string_view name_at(uint32_t offset) const { return btf_.string(offset).value_or(""); }

  FieldKinds kinds() const {
    FieldKinds kinds;
    for (const ValueField& field : found_) kinds.add(field.kind);
    return kinds;
  }

  Result<void> members(uint32_t id, uint32_t offset, unsigned depth) {
    const BtfType type = btf_.type(id);
    for (uint32_t i = 0; i < type.count(); ++i) {
      const uint32_t* member = &type.extra[size_t{i} * 3];
      const uint32_t bit = type.flag() ? BTF_MEMBER_BIT_OFFSET(member[2]) : member[2];
      if (bit % 8 != 0) return fail(EINVAL, "a bit field");
      if (auto done = one({id, static_cast<int32_t>(i), member[1], offset + bit / 8, 0, depth}); !done)
        return done;
    }
    return {};
  }

  Result<void> variables(uint32_t id) {
    const BtfType section = btf_.type(id);
    for (uint32_t i = 0; i < section.count(); ++i) {
      const uint32_t* variable = &section.extra[size_t{i} * 3];
      const BtfType type = btf_.type(variable[0]);
      if (auto done = one({variable[0], -1, type.size_or_type, variable[1], variable[2], 0}); !done)
        return done;
    }
    return {};
  }

  // btf_find_field_one(): a member, a variable, or an array of arrays of something.
  Result<void> one(Place place) {
    uint64_t count = 1;
    unsigned dimensions = 0;
    for (; place.type != 0 && btf_.type(place.type).kind() == BTF_KIND_ARRAY; ++dimensions) {
      if (dimensions == kMaxDepth) return fail(E2BIG, "an array of too many dimensions");
      const BtfType array = btf_.type(place.type);
      count = static_cast<uint32_t>(count * array.extra[2]);
      place.type = array.extra[0];
    }
    if (count == 0 || place.type == 0) return {};
    const BtfType type = btf_.type(place.type);
    const auto kind = kind_of(type);
    if (!kind) return std::unexpected(kind.error());
    const auto has_expected_size = [&](uint64_t size) {
      return place.expected == 0 || place.expected == size * count;
    };
    if (!*kind) {
      if (!is_struct(type) || !has_expected_size(type.size_or_type)) return {};
      return nested(place, type, count);
    }
    const uint32_t size = field_size(**kind);
    if (!has_expected_size(size) || place.offset % field_alignment(**kind) != 0) return {};
    return field(place, **kind, size, count);
  }

  // What the name says; what has none of the names may be a pointer. A lock by name counts before its place
  // and size are looked at.
  Result<std::optional<FieldKind>> kind_of(const BtfType& type) {
    const std::string_view name = name_at(type.name);
    const auto* named = std::ranges::find(kNamed, name, &NamedKind::name);
    if (named == std::end(kNamed)) {
      if (is_struct(type)) return std::nullopt;
      return FieldKind::kPointer;
    }
    if (kSingle.has(named->kind)) {
      if (seen_.has(named->kind)) return fail(E2BIG, fmt::format("a second {}", name));
      seen_.add(named->kind);
    }
    return named->kind;
  }

  Result<void> nested(const Place& place, const BtfType& type, uint64_t count) {
    if (place.depth + 1 >= kMaxDepth) return fail(E2BIG, "structs nested too deep");
    const size_t first = found_.size();
    if (auto done = members(place.type, place.offset, place.depth + 1); !done) return done;
    return repeat(first, count, type.size_or_type);
  }

  Result<void> field(const Place& place, FieldKind kind, uint32_t size, uint64_t count) {
    const size_t first = found_.size();
    if (kind == FieldKind::kPointer) {
      const auto pointer = pointer_kind(place.type);
      if (!pointer) return std::unexpected(pointer.error());
      if (!*pointer) return {};
      kind = **pointer;
    } else {
      const BtfType type = btf_.type(place.type);
      if (!is_struct(type) || type.size_or_type != size) return {};
      if (kGraphRoots.has(kind))
        if (auto good = check_contents(place, kind); !good) return good;
    }
    if (found_.size() == maps::kMaxFields) return fail(E2BIG, "too many fields");
    found_.push_back({kind, place.offset, size});
    return repeat(first, count, size);
  }

  // btf_repeat_fields(): those found since `first` are of an array's first element.
  Result<void> repeat(size_t first, uint64_t count, uint32_t stride) {
    const size_t fields = found_.size() - first;
    if (fields == 0 || count == 1) return {};
    for (size_t i = first; i < found_.size(); ++i)
      if (kSingle.has(found_[i].kind)) return fail(EINVAL, "an array of what a value has one of");
    if (first + fields * count > maps::kMaxFields) return fail(E2BIG, "too many fields");
    for (uint32_t n = 1; n < count; ++n) {
      for (size_t i = 0; i < fields; ++i) {
        ValueField copy = found_[first + i];
        copy.offset += n * stride;
        found_.push_back(copy);
      }
    }
    return {};
  }

  // btf_find_kptr(); nullopt: no pointer to something tagged.
  Result<std::optional<FieldKind>> pointer_kind(uint32_t id) const {
    BtfType type = btf_.type(id);
    if (type.kind() == BTF_KIND_VOLATILE && type.size_or_type != 0) type = btf_.type(type.size_or_type);
    if (type.kind() != BTF_KIND_PTR || type.size_or_type == 0) return std::nullopt;
    const BtfType tag = btf_.type(type.size_or_type);
    if (tag.kind() != BTF_KIND_TYPE_TAG) return std::nullopt;
    if (tag.size_or_type != 0 && btf_.type(tag.size_or_type).kind() == BTF_KIND_TYPE_TAG)
      return fail(EINVAL, "a pointer with two tags");
    const std::string_view name = name_at(tag.name);
    const auto target = btf_.base(tag.size_or_type);
    const bool known = name == "kptr" || name == "kptr_untrusted" || name == "percpu_kptr";
    if (!known || !target || *target == 0 || !is_struct(btf_.type(*target)))
      return fail(EINVAL, fmt::format("a pointer tagged {} to no struct", name));
    return name == "kptr"             ? FieldKind::kPointer
           : name == "kptr_untrusted" ? FieldKind::kUntrustedPointer
                                      : FieldKind::kPerCpuPointer;
  }

  // The text behind `key` in the member's tag; nullopt: none, or more than one.
  std::optional<std::string_view> tag_value(const Place& place, std::string_view key) const {
    std::optional<std::string_view> value;
    for (uint32_t id = 1; id < btf_.types(); ++id) {
      const BtfType tag = btf_.type(id);
      if (tag.kind() != BTF_KIND_DECL_TAG || tag.size_or_type != place.owner ||
          static_cast<int32_t>(tag.extra[0]) != place.index || !name_at(tag.name).starts_with(key))
        continue;
      if (value) return std::nullopt;
      value = name_at(tag.name).substr(key.size());
    }
    return value;
  }

  // btf_find_graph_root() and btf_parse_graph_root(): "contains:STRUCT:MEMBER" names a node of the kind.
  Result<void> check_contents(const Place& place, FieldKind kind) const {
    const auto text = tag_value(place, "contains:");
    const size_t colon = text ? text->find(':') : std::string_view::npos;
    if (colon == std::string_view::npos || colon + 1 == text->size())
      return fail(EINVAL, "a list or tree that does not say what it contains");
    const auto content = find_struct(text->substr(0, colon));
    if (!content) return fail(ENOENT, "a list or tree contains a struct that there is not");
    return check_node(btf_.type(*content), text->substr(colon + 1),
                      kind == FieldKind::kListHead ? "bpf_list_node" : "bpf_rb_node");
  }

  std::optional<uint32_t> find_struct(std::string_view name) const {
    for (uint32_t id = 1; id < btf_.types(); ++id)
      if (is_struct(btf_.type(id)) && name_at(btf_.type(id).name) == name) return id;
    return std::nullopt;
  }

  Result<void> check_node(const BtfType& content, std::string_view member_name, std::string_view node) const {
    bool found = false;
    for (uint32_t i = 0; i < content.count(); ++i) {
      const uint32_t* member = &content.extra[size_t{i} * 3];
      if (name_at(member[0]) != member_name) continue;
      if (found || member[1] == 0) return fail(EINVAL, "two members of one name");
      const BtfType type = btf_.type(member[1]);
      if (!is_struct(type) || name_at(type.name) != node)
        return fail(EINVAL, fmt::format("{} is no {}", member_name, node));
      found = true;
    }
    if (!found) return fail(ENOENT, fmt::format("there is no member {}", member_name));
    return {};
  }

  Result<void> check_order(uint32_t value_size) const {
    uint64_t next = 0;
    for (const ValueField& field : found_) {
      if (uint64_t{field.offset} + field.size > value_size) return fail(EFAULT, "a field beyond the value");
      if (field.offset < next) return fail(EEXIST, "fields that overlap or are not in order");
      next = field.end();
    }
    return {};
  }

  const BtfImage& btf_;
  FieldKinds seen_;
  std::vector<ValueField> found_;
};

constexpr FieldKinds kOfObjects{FieldKind::kSpinLock, FieldKind::kListHead, FieldKind::kTreeRoot,
                                FieldKind::kRefcount};

bool is_of_objects(const BtfImage& btf, uint32_t id) {
  if (id == 0 || !is_struct(btf.type(id))) return false;
  const std::string_view name = btf.string(btf.type(id).name).value_or("");
  const auto* named = std::ranges::find(kNamed, name, &NamedKind::name);
  return named != std::end(kNamed) && kOfObjects.has(named->kind);
}

bool has_member_of_objects(const BtfImage& btf, const BtfType& type) {
  for (uint32_t i = 0; i < type.count(); ++i)
    if (is_of_objects(btf, type.extra[size_t{i} * 3 + 1])) return true;
  return false;
}

}  // namespace

Result<void> check_struct_fields(const BtfImage& btf) {
  for (uint32_t id = 1; id < btf.types(); ++id) {
    const BtfType type = btf.type(id);
    if (!is_struct(type) || !has_member_of_objects(btf, type)) continue;
    const auto fields = find_value_fields(btf, id, type.size_or_type);
    if (!fields) return fail(fields.error().code, fmt::format("[{}] STRUCT: {}", id, fields.error().message));
    if (fields->empty()) return fail(EFAULT, fmt::format("[{}] STRUCT: fields that are none", id));
  }
  return {};
}

Result<maps::ValueFields> find_value_fields(const BtfImage& btf, uint32_t type, uint32_t value_size) {
  return Finder(btf).run(type, value_size);
}

}  // namespace skep::sys
