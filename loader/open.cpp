#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "loader/legacy_maps.hpp"
#include "loader/libbpf_binding.hpp"
#include "loader/object_state.hpp"
#include "vm/program_type.hpp"

namespace skep::loader {
namespace {

constexpr std::array<std::byte, 4> kElfMagic{std::byte{0x7f}, std::byte{'E'}, std::byte{'L'}, std::byte{'F'}};
constexpr const char* kRawSection = "raw";

// As libbpf names an object that it opens from a file: the file's name up to the first dot.
std::string object_name(const std::string& label) {
  const size_t slash = label.rfind('/');
  std::string name = slash == std::string::npos ? label : label.substr(slash + 1);
  return name.substr(0, name.find('.'));
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// libbpf calls an object in memory by its name; the reader knows it by its path.
std::unexpected<Error> open_error(const ObjectState& state, int code, const LibbpfBinding& binding) {
  std::string cause = first_line(binding.messages());
  if (cause.empty()) cause = std::strerror(code);
  return fail(code, fmt::format("{}: {}", state.label, cause));
}

Result<void> choose_type(const ObjectState& state, bpf_program* program) {
  const vm::ProgramType* type = nullptr;
  if (!state.options.type.empty()) {
    type = vm::find_program_type(std::string_view(state.options.type));
    if (!type)
      return fail(EINVAL, fmt::format("unknown program type '{}'; known: {}", state.options.type,
                                      fmt::join(program_type_names(), ", ")));
  } else if (bpf_program__type(program) == BPF_PROG_TYPE_UNSPEC &&
             std::strcmp(bpf_program__section_name(program), kRawSection) == 0) {
    type = vm::find_program_type(vm::kProgTypeRaw);
  }
  if (type) bpf_program__set_type(program, static_cast<bpf_prog_type>(type->id));
  return {};
}

// A program array may be filled with any of the object's programs when it is loaded.
bool has_program_array(const bpf_object* object) {
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) if (bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY) return true;
  return false;
}

Result<void> choose_programs(const ObjectState& state) {
  const std::string& only = state.options.program;
  const bool all = only.empty() || has_program_array(state.object.get());
  bool found = only.empty();
  std::vector<std::string> names;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, state.object.get()) {
    const std::string name = bpf_program__name(program);
    names.push_back(name);
    if (auto typed = choose_type(state, program); !typed) return typed;
    if (name == only) found = true;
    const bool chosen =
        name == only || std::ranges::find(state.options.also, name) != state.options.also.end();
    if (!all) bpf_program__set_autoload(program, chosen);
  }
  if (!found)
    return fail(ENOENT, fmt::format("{}: no program named '{}'; it has: {}", state.label, only,
                                    names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
  return {};
}

Result<void> open_elf(ObjectState& state) {
  const LibbpfBinding binding(*state.machine);
  if (auto rewritten = rewrite_legacy_maps(state.image); !rewritten)
    return fail(rewritten.error().code, fmt::format("{}: {}", state.label, rewritten.error().message));
  const std::string name = state.options.name.empty() ? object_name(state.label) : state.options.name;
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = name.c_str();
  options.btf_custom_path = state.options.kernel_btf.empty() ? nullptr : state.options.kernel_btf.c_str();
  errno = 0;
  state.object.reset(bpf_object__open_mem(state.image.data(), state.image.size(), &options));
  if (!state.object) return open_error(state, errno == 0 ? EINVAL : errno, binding);
  return choose_programs(state);
}

Result<void> open_bare(ObjectState& state) {
  if (state.image.empty()) return fail(EINVAL, fmt::format("{}: the file is empty", state.label));
  if (state.image.size() % sizeof(isa::Encoded) != 0)
    return fail(
        EINVAL,
        fmt::format("{}: neither an ELF object (no ELF magic) nor bare instructions ({} bytes are not "
                    "a multiple of {})",
                    state.label, state.image.size(), sizeof(isa::Encoded)));
  state.bare.resize(state.image.size() / sizeof(isa::Encoded));
  std::memcpy(state.bare.data(), state.image.data(), state.image.size());
  return {};
}

}  // namespace

Result<std::shared_ptr<ObjectState>> open_image(std::shared_ptr<vm::Machine> machine,
                                                std::vector<std::byte> image, std::string label,
                                                const ObjectOptions& options) {
  auto state = std::make_shared<ObjectState>();
  state->machine = std::move(machine);
  state->options = options;
  state->label = std::move(label);
  state->image = std::move(image);
  const bool is_elf = state->image.size() >= kElfMagic.size() &&
                      std::equal(kElfMagic.begin(), kElfMagic.end(), state->image.begin());
  if (auto opened = is_elf ? open_elf(*state) : open_bare(*state); !opened)
    return std::unexpected(opened.error());
  return state;
}

}  // namespace skep::loader
