#include <cerrno>

#include "maps/attributes.hpp"
#include "maps/map_in_map.hpp"
#include "syscall/command.hpp"
#include "syscall/elements.hpp"
#include "syscall/value_fields.hpp"
#include "vm/machine.hpp"

namespace skep::sys {
namespace {

// The fields of a value. What the kernel finds wrong with them makes it go on as if there were none; programs
// are then refused that use them.
Result<maps::ValueFields> fields_of(const BtfImage& btf, const maps::MapSpec& spec, uint32_t value) {
  const auto fields = find_value_fields(btf, value, spec.value_size);
  if (!fields || fields->empty()) return maps::ValueFields();
  if ((spec.flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) != 0)
    return fail(EACCES, "programs have to read and write values with fields of the runtime's");
  const maps::MapTypeRow* row = maps::find_map_type(spec.type);
  if (row != nullptr && !row->fields.has_all(fields->kinds()))
    return fail(EOPNOTSUPP, "the map type does not have values with these fields");
  return *fields;
}

// What key_size and value_size have to agree with (map_check_btf and the map types' own); the value's fields.
Result<maps::ValueFields> check_btf_types(const BtfImage& btf, const maps::MapSpec& spec, uint32_t key,
                                          uint32_t value) {
  if (spec.inner != nullptr) return fail(maps::kNotSupported, "a map of maps has no types");
  const bool array = spec.type == BPF_MAP_TYPE_ARRAY || spec.type == BPF_MAP_TYPE_PERCPU_ARRAY;
  if (key != 0) {
    if (btf.size_of(key) != spec.key_size) return fail(EINVAL, "btf_key_type_id: not of key_size");
  } else if (!array) {
    return fail(EINVAL, "btf_key_type_id is missing");
  }
  if (btf.size_of(value) != spec.value_size) return fail(EINVAL, "btf_value_type_id: not of value_size");
  auto fields = fields_of(btf, spec, value);
  if (!array || !fields) return fields;
  if (key == 0) {
    // Global variables: a section is the value, and there is no key to speak of.
    const auto base = btf.base(value);
    if (spec.type != BPF_MAP_TYPE_ARRAY || spec.max_entries != 1 || !base ||
        btf.type(*base).kind() != BTF_KIND_DATASEC)
      return fail(EINVAL, "btf_key_type_id is missing");
    return fields;
  }
  const auto base = btf.base(key);
  const auto is_int32 = [](const BtfType& type) {
    return type.kind() == BTF_KIND_INT && BTF_INT_BITS(type.extra[0]) == 32 &&
           BTF_INT_OFFSET(type.extra[0]) == 0;
  };
  if (!base || !is_int32(btf.type(*base)))
    return fail(EINVAL, "btf_key_type_id: an array's key is a 32-bit integer");
  return fields;
}

maps::MapSpec spec_of(const bpf_attr& attr) {
  return {.type = attr.map_type,
          .key_size = attr.key_size,
          .value_size = attr.value_size,
          .max_entries = attr.max_entries,
          .flags = attr.map_flags,
          .numa_node = attr.numa_node,
          .map_extra = attr.map_extra,
          .name = {},
          .inner = nullptr};
}

struct MapTypes {
  std::shared_ptr<BtfObject> btf;  // nullptr: the map has none
  maps::ValueFields fields;
};

Result<MapTypes> types_of(Call& call, const maps::MapSpec& spec) {
  const bpf_attr& attr = call.attr();
  if (attr.btf_key_type_id == 0 && attr.btf_value_type_id == 0) return MapTypes{};
  auto btf = call.objects.get<BtfObject>(static_cast<int>(attr.btf_fd));
  if (!btf) return std::unexpected(btf.error());
  const auto fields = check_btf_types((*btf)->image, spec, attr.btf_key_type_id, attr.btf_value_type_id);
  if (!fields) return std::unexpected(fields.error());
  return MapTypes{std::move(*btf), *fields};
}

// bpf_map_meta_alloc
Result<void> find_inner(Call& call, maps::MapSpec& spec) {
  const maps::MapTypeRow* row = maps::find_map_type(spec.type);
  if (row == nullptr || row->value_kind != maps::ValueKind::kMap) return {};
  auto inner = call.objects.get<MapObject>(static_cast<int>(call.attr().inner_map_fd));
  if (!inner) return std::unexpected(inner.error());
  const maps::Map& map = *(*inner)->map;
  if (map.spec().inner != nullptr) return fail(EINVAL, "a map of maps of maps");
  spec.inner = map.as_inner();
  if (spec.inner == nullptr) return fail(maps::kNotSupported, "maps of the type are in no other map");
  return {};
}

}  // namespace

long map_create(Call& call) {
  const bpf_attr& attr = call.attr();
  if ((attr.map_flags & kFlagTokenFd) != 0) return no_token(call.attributes.word(kMapTokenFd));
  if (attr.btf_vmlinux_value_type_id != 0) return -EINVAL;
  if (attr.btf_key_type_id != 0 && attr.btf_value_type_id == 0) return -EINVAL;
  const auto access = access_of_flags(attr.map_flags);
  if (!access) return code_of(access.error());
  maps::MapSpec spec = spec_of(attr);
  auto name = object_name(attr.map_name);
  if (name) spec.name = *name;
  if (const auto found = find_inner(call, spec); !found) spec.inner_error = found.error().code;
  // The map is made for the fields of its values; what is wrong with the types is said last.
  auto types = types_of(call, spec);
  if (types) spec.fields = types->fields;
  auto map = maps::create_map(spec, call.machine.map_environment());
  if (!map) return code_of(map.error());
  // A machine has no device to keep a map on.
  if (attr.map_ifindex != 0) return -EINVAL;
  if (!name) return code_of(name.error());
  if (!types) return code_of(types.error());
  // map_check_no_btf
  if (types->btf && (*map)->redirects() != nullptr) return -maps::kNotSupported;
  const auto object = std::make_shared<MapObject>(std::move(*map));
  if (types->btf) {
    object->btf = std::move(types->btf);
    object->btf_key_type = attr.btf_key_type_id;
    object->btf_value_type = attr.btf_value_type_id;
  }
  // bpf_map_mmap: what programs may not write is not written by way of a mapping either.
  if (!spec.program_may_write()) forbid_writable_mappings(*object->map);
  object->id = call.objects.next_id(Kind::kMap);
  call.objects.add(object);
  return call.objects.open(object, *access);
}

}  // namespace skep::sys
