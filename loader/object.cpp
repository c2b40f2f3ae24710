#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "loader/libbpf_binding.hpp"
#include "loader/object_state.hpp"
#include "syscall/bpf.hpp"
#include "vm/program_type.hpp"

namespace skep {
namespace {

constexpr const char* kBareProgram = "main";

std::string type_name(uint32_t type) {
  if (const vm::ProgramType* row = vm::find_program_type(type)) return row->name;
  const char* name = libbpf_bpf_prog_type_str(static_cast<bpf_prog_type>(type));
  return name ? name : "unspec";
}

std::string map_type_name(uint32_t type) {
  const char* name = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type));
  return name ? name : fmt::format("type {}", type);
}

bool can_run(uint32_t type) {
  const vm::ProgramType* row = vm::find_program_type(type);
  return row && row->runs_on_data();
}

// A program that elements of a device or CPU map run.
bool is_for_elements(const bpf_program* program) {
  const bpf_attach_type attached = bpf_program__expected_attach_type(program);
  return bpf_program__type(program) == BPF_PROG_TYPE_XDP &&
         (attached == BPF_XDP_DEVMAP || attached == BPF_XDP_CPUMAP);
}

// Where a global variable lies in the initial value of the map that holds its section.
struct VariablePlace {
  bpf_map* map = nullptr;
  size_t offset = 0;
  size_t size = 0;
};

VariablePlace find_variable(const bpf_object* object, std::string_view variable) {
  const struct btf* btf = bpf_object__btf(object);
  if (!btf) return {};
  for (uint32_t id = 1; id < btf__type_cnt(btf); ++id) {
    const btf_type* section = btf__type_by_id(btf, id);
    if (!btf_is_datasec(section)) continue;
    const btf_var_secinfo* entries = btf_var_secinfos(section);
    for (unsigned n = 0; n < btf_vlen(section); ++n) {
      const btf_type* var = btf__type_by_id(btf, entries[n].type);
      if (!var || variable != btf__name_by_offset(btf, var->name_off)) continue;
      const char* section_name = btf__name_by_offset(btf, section->name_off);
      return {bpf_object__find_map_by_name(object, section_name), entries[n].offset, entries[n].size};
    }
  }
  return {};
}

int set_in_initial_value(const VariablePlace& place, std::span<const std::byte> value) {
  size_t size = 0;
  const auto* initial = static_cast<const std::byte*>(bpf_map__initial_value(place.map, &size));
  if (!initial || place.offset + place.size > size) return -EINVAL;
  std::vector<std::byte> changed(initial, initial + size);
  std::ranges::copy(value, changed.begin() + static_cast<ptrdiff_t>(place.offset));
  return bpf_map__set_initial_value(place.map, changed.data(), changed.size());
}

}  // namespace

std::vector<ProgramInfo> Object::programs() const {
  std::vector<ProgramInfo> out;
  if (!state_->object) {
    const std::string type = state_->options.type.empty() ? "raw" : state_->options.type;
    const vm::ProgramType* row = vm::find_program_type(std::string_view(type));
    out.push_back({kBareProgram, type, "", state_->bare.size(), row && can_run(row->id)});
    return out;
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, state_->object.get()) out.push_back(
      {bpf_program__name(program), type_name(bpf_program__type(program)), bpf_program__section_name(program),
       bpf_program__insn_cnt(program), can_run(bpf_program__type(program)) && !is_for_elements(program)});
  return out;
}

std::vector<MapInfo> Object::maps() const {
  std::vector<MapInfo> out;
  if (!state_->object) return out;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, state_->object.get()) {
    const char* pin = bpf_map__pin_path(map);
    out.push_back({.name = bpf_map__name(map),
                   .type = map_type_name(bpf_map__type(map)),
                   .key_size = bpf_map__key_size(map),
                   .value_size = bpf_map__value_size(map),
                   .max_entries = bpf_map__max_entries(map),
                   .flags = bpf_map__map_flags(map),
                   .map_extra = bpf_map__map_extra(map),
                   .numa_node = bpf_map__numa_node(map),
                   .pin_path = pin ? pin : "",
                   .internal = bpf_map__is_internal(map)});
  }
  return out;
}

Result<void> Object::set_variable(std::string_view name, std::span<const std::byte> value) const {
  if (state_->loaded) return fail(EINVAL, fmt::format("{}: already loaded", state_->label));
  const VariablePlace place = state_->object ? find_variable(state_->object.get(), name) : VariablePlace{};
  if (!place.map) return fail(ENOENT, fmt::format("{}: no global variable named '{}'", state_->label, name));
  if (place.size != value.size())
    return fail(EINVAL, fmt::format("{}: variable '{}' has {} bytes, not {}", state_->label, name, place.size,
                                    value.size()));
  if (const int result = set_in_initial_value(place, value); result != 0)
    return fail(-result, fmt::format("{}: variable '{}' cannot be set: {}", state_->label, name,
                                     std::strerror(-result)));
  return {};
}

Result<void> Object::load() const { return loader::load_object(*state_); }

Result<Program> Object::program(std::string_view name) const {
  const std::string wanted(name);
  int descriptor = -1;
  if (!state_->object) {
    if (wanted == kBareProgram) descriptor = state_->bare_program.get();
  } else if (const bpf_program* program =
                 bpf_object__find_program_by_name(state_->object.get(), wanted.c_str())) {
    descriptor = bpf_program__fd(program);
  }
  auto program = descriptor >= 0 ? sys::program_of_descriptor(*state_->machine, descriptor) : nullptr;
  if (!program) return fail(ENOENT, fmt::format("{}: no loaded program named '{}'", state_->label, name));
  return Program(state_, std::move(program), wanted, descriptor);
}

Result<Map> Object::map(std::string_view name) const {
  for (const Map& map : loaded_maps())
    if (map.name() == name) return map;
  return fail(ENOENT, fmt::format("{}: no loaded map named '{}'", state_->label, name));
}

std::vector<Map> Object::loaded_maps() const {
  std::vector<Map> out;
  if (!state_->object || !state_->loaded) return out;
  bpf_map* entry = nullptr;
  bpf_object__for_each_map(entry, state_->object.get()) {
    auto of_machine = sys::map_of_descriptor(*state_->machine, bpf_map__fd(entry));
    if (!of_machine) continue;
    Map map;
    map.object_ = state_;
    map.map_ = std::move(of_machine);
    map.name_ = bpf_map__name(entry);
    map.descriptor_ = bpf_map__fd(entry);
    map.btf_key_type_ = bpf_map__btf_key_type_id(entry);
    map.btf_value_type_ = bpf_map__btf_value_type_id(entry);
    out.push_back(std::move(map));
  }
  return out;
}

const ::btf* Object::btf() const { return state_->object ? bpf_object__btf(state_->object.get()) : nullptr; }

}  // namespace skep
