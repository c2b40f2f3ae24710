#include <fmt/format.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "loader/libbpf_binding.hpp"
#include "loader/object_state.hpp"
#include "syscall/bpf.hpp"
#include "vm/program_type.hpp"

namespace skep {

OwnedDescriptor::~OwnedDescriptor() { reset(-1); }

void OwnedDescriptor::reset(int descriptor) {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = descriptor;
}

namespace loader {
namespace {

constexpr size_t kLogSize = 64 * 1024;

std::string_view line_at(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at);
  return rest.substr(0, rest.find('\n'));
}

// The sentence that matters among libbpf's: the first line of the load log and the program it is about, else
// what libbpf said first.
std::string refusal(std::string_view messages) {
  constexpr std::string_view kBegin = "-- BEGIN PROG LOAD LOG --\n";
  const size_t begin = messages.find(kBegin);
  if (begin == std::string_view::npos) return std::string(line_at(messages, 0));
  const size_t line_start =
      messages.rfind('\n', begin) == std::string_view::npos ? 0 : messages.rfind('\n', begin) + 1;
  const std::string_view intro = line_at(messages, line_start);  // prog 'NAME': -- BEGIN …
  const std::string_view program = intro.substr(0, intro.find(": --"));
  return fmt::format("{}: {}", program, line_at(messages, begin + kBegin.size()));
}

Result<void> load_bare(ObjectState& state) {
  std::string log(kLogSize, '\0');
  const vm::ProgramType* type = vm::find_program_type(vm::kProgTypeRaw);
  if (!state.options.type.empty()) type = vm::find_program_type(std::string_view(state.options.type));
  if (!type) return fail(EINVAL, fmt::format("unknown program type '{}'", state.options.type));
  union bpf_attr attributes = {};
  attributes.prog_type = type->id;
  attributes.insns = reinterpret_cast<uintptr_t>(state.bare.data());
  attributes.insn_cnt = static_cast<uint32_t>(state.bare.size());
  attributes.license = reinterpret_cast<uintptr_t>("GPL");
  attributes.log_buf = reinterpret_cast<uintptr_t>(log.data());
  attributes.log_size = static_cast<uint32_t>(log.size());
  attributes.log_level = 1;
  const long result = sys::bpf(*state.machine, BPF_PROG_LOAD, &attributes, sizeof attributes);
  if (result < 0) {
    std::string cause(line_at(std::string_view(log).substr(0, log.find('\0')), 0));
    if (cause.empty()) cause = std::strerror(static_cast<int>(-result));
    return fail(static_cast<int>(-result), fmt::format("{}: program 'main': {}", state.label, cause));
  }
  state.bare_program.reset(static_cast<int>(result));
  return {};
}

Result<void> load_elf(ObjectState& state) {
  const LibbpfBinding binding(*state.machine);
  const int result = bpf_object__load(state.object.get());
  if (result == 0) return {};
  std::string cause = refusal(binding.messages());
  if (cause.empty()) cause = std::strerror(-result);
  return fail(-result, fmt::format("{}: {}", state.label, cause));
}

}  // namespace

Result<void> load_object(ObjectState& state) {
  if (state.loaded) return fail(EINVAL, fmt::format("{}: already loaded", state.label));
  if (auto done = state.object ? load_elf(state) : load_bare(state); !done) return done;
  state.loaded = true;
  return {};
}

}  // namespace loader
}  // namespace skep
