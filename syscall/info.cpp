#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "syscall/command.hpp"
#include "syscall/program_dump.hpp"
#include "vm/engine.hpp"

// BPF_OBJ_GET_INFO_BY_FD
namespace skep::sys {
namespace {

// sizeof(struct bpf_link_info) of Linux 6.12.
constexpr uint32_t kLinkInfoSize = 64;

// The caller's structure: read in, filled, written back, as long as both sides know it.
template <size_t size>
class InfoBuffer {
 public:
  explicit InfoBuffer(Call& call) : call_(call) {}

  long read() {
    const bpf_attr& attr = call_.attr();
    if (const long bad = check_tail_zero(call_.memory, attr.info.info, size, attr.info.info_len)) return bad;
    length_ = std::min(static_cast<uint32_t>(size), attr.info.info_len);
    return call_.memory.read(bytes_, attr.info.info, length_) ? 0 : -EFAULT;
  }
  long write() {
    const uint32_t length = length_;
    return call_.memory.write(call_.attr().info.info, bytes_, length) &&
                   call_.answer(offsetof(bpf_attr, info.info_len), length)
               ? 0
               : -EFAULT;
  }
  template <class T>
  T& as() {
    static_assert(sizeof(T) <= size);
    return *reinterpret_cast<T*>(bytes_);
  }

 private:
  Call& call_;
  uint32_t length_ = 0;
  alignas(8) std::byte bytes_[size]{};
};

// An array that the caller has room for `room` elements of: as many are copied as fit, and it is told how
// many there are. false: not writable.
template <class T>
bool give_array(Call& call, uint32_t& room, uint64_t to, std::span<const T> from) {
  const auto count = static_cast<uint32_t>(from.size());
  const uint32_t copied = std::min(room, count);
  room = count;
  return copied == 0 || call.memory.write(to, from.data(), copied * sizeof(T));
}

// Record sizes have to be ours, or left at zero with no count (set_info_rec_size).
bool take_record_sizes(bpf_prog_info& info) {
  if ((info.nr_func_info || info.func_info_rec_size) && info.func_info_rec_size != sizeof(bpf_func_info))
    return false;
  if ((info.nr_line_info || info.line_info_rec_size) && info.line_info_rec_size != sizeof(bpf_line_info))
    return false;
  if ((info.nr_jited_line_info || info.jited_line_info_rec_size) &&
      info.jited_line_info_rec_size != sizeof(uint64_t))
    return false;
  info.func_info_rec_size = sizeof(bpf_func_info);
  info.line_info_rec_size = sizeof(bpf_line_info);
  info.jited_line_info_rec_size = sizeof(uint64_t);
  return true;
}

std::vector<uint32_t> map_ids(const Call& call, const vm::Program& program) {
  std::vector<uint32_t> ids;
  const auto add = [&](const std::shared_ptr<maps::Map>& map) {
    if (const auto object = call.objects.map_object(*map)) ids.push_back(object->id);
  };
  for (const auto& map : program.maps()) add(map);
  for (const auto& map : program.bound_maps()) add(map);
  return ids;
}

bool give_machine_code(Call& call, const ProgramObject& object, bpf_prog_info& info) {
  MachineCode code;
  if (call.machine.options().engine == vm::EngineKind::kJit)
    code = dump_machine_code(object,
                             object.program->executable(vm::EngineKind::kJit, call.machine.options().mode));
  if (code.functions.empty()) {
    const auto count = static_cast<uint32_t>(object.program->subprograms().size());
    code.functions.assign(count, 0);
    code.function_sizes.assign(count, 0);
  }
  return give_array<uint8_t>(call, info.jited_prog_len, info.jited_prog_insns, code.bytes) &&
         give_array<uint64_t>(call, info.nr_jited_ksyms, info.jited_ksyms, code.functions) &&
         give_array<uint32_t>(call, info.nr_jited_func_lens, info.jited_func_lens, code.function_sizes) &&
         give_array<uint64_t>(call, info.nr_jited_line_info, info.jited_line_info, code.lines);
}

long program_info(Call& call, const ProgramObject& object) {
  InfoBuffer<sizeof(bpf_prog_info)> buffer(call);
  if (const long bad = buffer.read()) return bad;
  auto& info = buffer.as<bpf_prog_info>();
  const vm::ProgramSpec& spec = object.program->spec();
  info.type = spec.type->id;
  info.id = object.id;
  std::memcpy(info.tag, object.tag.data(), object.tag.size());
  info.load_time = object.load_time;
  info.created_by_uid = object.user;
  info.gpl_compatible = spec.gpl_compatible();
  std::memset(info.name, 0, sizeof info.name);
  spec.name.copy(info.name, sizeof info.name - 1);
  if (!give_array<uint32_t>(call, info.nr_map_ids, info.map_ids, map_ids(call, *object.program)))
    return -EFAULT;
  if (!take_record_sizes(info)) return -EINVAL;
  info.run_time_ns = object.run_time_ns.load(std::memory_order_relaxed);  // statistics
  info.run_cnt = object.runs.load(std::memory_order_relaxed);
  info.recursion_misses = 0;
  info.verified_insns = 0;
  if (object.btf) info.btf_id = object.btf->id;

  const auto code = dump_instructions(object, call.objects);
  const auto bytes = std::as_bytes(std::span(code));
  if (!give_array<std::byte>(call, info.xlated_prog_len, info.xlated_prog_insns, bytes)) return -EFAULT;
  if (!give_machine_code(call, object, info)) return -EFAULT;
  info.attach_btf_id = 0;
  if (!give_array<bpf_func_info>(call, info.nr_func_info, info.func_info, object.functions) ||
      !give_array<bpf_line_info>(call, info.nr_line_info, info.line_info, object.lines) ||
      !give_array<ProgramTag>(call, info.nr_prog_tags, info.prog_tags, function_tags(object)))
    return -EFAULT;
  return buffer.write();
}

long map_info(Call& call, const MapObject& object) {
  InfoBuffer<sizeof(bpf_map_info)> buffer(call);
  if (const long bad = buffer.read()) return bad;
  auto& info = buffer.as<bpf_map_info>();
  info = {};
  const maps::MapSpec& spec = object.map->spec();
  info.type = spec.type;
  info.id = object.id;
  info.key_size = spec.key_size;
  info.value_size = spec.value_size;
  info.max_entries = spec.max_entries;
  info.map_flags = spec.flags & ~uint32_t{BPF_F_RDONLY | BPF_F_WRONLY};  // those are the descriptor's
  info.map_extra = spec.map_extra;
  spec.name.copy(info.name, sizeof info.name - 1);
  if (object.btf) {
    info.btf_id = object.btf->id;
    info.btf_key_type_id = object.btf_key_type;
    info.btf_value_type_id = object.btf_value_type;
  }
  return buffer.write();
}

long btf_info(Call& call, const BtfObject& object) {
  InfoBuffer<sizeof(bpf_btf_info)> buffer(call);
  if (const long bad = buffer.read()) return bad;
  auto& info = buffer.as<bpf_btf_info>();
  info.id = object.id;
  const auto raw = object.image.raw();
  const size_t copied = std::min<size_t>(raw.size(), info.btf_size);
  if (!call.memory.write(info.btf, raw.data(), copied)) return -EFAULT;
  info.btf_size = static_cast<uint32_t>(raw.size());
  info.kernel_btf = 0;
  if ((info.name != 0) != (info.name_len != 0)) return -EINVAL;
  // Its name is empty; there is always room for that.
  if (info.name != 0 && !call.memory.put(info.name, '\0')) return -EFAULT;
  info.name_len = 0;
  return buffer.write();
}

long link_info(Call& call, const LinkObject& object) {
  InfoBuffer<kLinkInfoSize> buffer(call);
  if (const long bad = buffer.read()) return bad;
  auto& info = buffer.as<bpf_link_info>();
  info.type = BPF_LINK_TYPE_XDP;
  info.id = object.id;
  info.prog_id = object.program()->id;
  info.xdp.ifindex = object.ifindex();
  return buffer.write();
}

}  // namespace

long get_info(Call& call) {
  const auto found = call.objects.at(static_cast<int>(call.attr().info.bpf_fd));
  // This command alone says EBADFD.
  if (!found) return found.error().code == EBADF ? -EBADFD : code_of(found.error());
  const KernelObject& object = *found->object;
  switch (object.kind) {
    case Kind::kProgram:
      return program_info(call, static_cast<const ProgramObject&>(object));
    case Kind::kMap:
      return map_info(call, static_cast<const MapObject&>(object));
    case Kind::kBtf:
      return btf_info(call, static_cast<const BtfObject&>(object));
    case Kind::kLink:
      return link_info(call, static_cast<const LinkObject&>(object));
    case Kind::kStatistics:
    case Kind::kPerfEvent:
      break;
  }
  return -EINVAL;
}

}  // namespace skep::sys
