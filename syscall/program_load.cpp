#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <initializer_list>

#include "syscall/command.hpp"
#include "syscall/debug_info.hpp"
#include "syscall/load_log.hpp"
#include "syscall/program_tag.hpp"

namespace skep::sys {
namespace {

constexpr uint32_t kMaxInstructions = 1'000'000;  // BPF_COMPLEXITY_LIMIT_INSNS
constexpr size_t kMaxLicense = 127;
constexpr uint32_t kKnownFlags = BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT | BPF_F_TEST_RND_HI32 |
                                 BPF_F_TEST_STATE_FREQ | BPF_F_SLEEPABLE | BPF_F_XDP_HAS_FRAGS |
                                 kFlagXdpDevBoundOnly | kFlagRegInvariants | kFlagTokenFd;

// bpf_prog_load_fixup_attach_type
uint32_t attach_type_of(const bpf_attr& attr) {
  if (attr.expected_attach_type != 0) return attr.expected_attach_type;
  if (attr.prog_type == BPF_PROG_TYPE_CGROUP_SOCK) return BPF_CGROUP_INET_SOCK_CREATE;
  if (attr.prog_type == BPF_PROG_TYPE_SK_REUSEPORT) return BPF_SK_REUSEPORT_SELECT;
  return 0;
}

// bpf_prog_load_check_attach. Attach types that <linux/bpf.h> lacks are given by number:
// BPF_CGROUP_UNIX_CONNECT, _SENDMSG, _RECVMSG, _GETPEERNAME, _GETSOCKNAME.
bool attach_type_allowed(uint32_t prog_type, uint32_t attach_type) {
  const auto among = [&](std::initializer_list<uint32_t> allowed) {
    return std::ranges::find(allowed, attach_type) != allowed.end();
  };
  switch (prog_type) {
    case BPF_PROG_TYPE_CGROUP_SOCK:
      return among({BPF_CGROUP_INET_SOCK_CREATE, BPF_CGROUP_INET_SOCK_RELEASE, BPF_CGROUP_INET4_POST_BIND,
                    BPF_CGROUP_INET6_POST_BIND});
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
      return among({BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND, BPF_CGROUP_INET4_CONNECT,
                    BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET6_GETPEERNAME,
                    BPF_CGROUP_INET4_GETSOCKNAME, BPF_CGROUP_INET6_GETSOCKNAME, BPF_CGROUP_UDP4_SENDMSG,
                    BPF_CGROUP_UDP6_SENDMSG, BPF_CGROUP_UDP4_RECVMSG, BPF_CGROUP_UDP6_RECVMSG, 49, 50, 51, 52,
                    53});
    case BPF_PROG_TYPE_CGROUP_SKB:
      return among({BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_EGRESS});
    case BPF_PROG_TYPE_CGROUP_SOCKOPT:
      return among({BPF_CGROUP_SETSOCKOPT, BPF_CGROUP_GETSOCKOPT});
    case BPF_PROG_TYPE_SK_LOOKUP:
      return among({BPF_SK_LOOKUP});
    case BPF_PROG_TYPE_SK_REUSEPORT:
      return among({BPF_SK_REUSEPORT_SELECT, BPF_SK_REUSEPORT_SELECT_OR_MIGRATE});
    case BPF_PROG_TYPE_SYSCALL:
      return attach_type == 0;
    default:
      return true;
  }
}

// What a program of the types that a machine has may not be attached to: other programs, and a kernel's
// functions.
long check_target(Call& call) {
  const bpf_attr& attr = call.attr();
  if (attr.attach_prog_fd == 0) return attr.attach_btf_id != 0 ? -EINVAL : 0;
  const int descriptor = static_cast<int>(attr.attach_prog_fd);
  return call.objects.get<BtfObject>(descriptor) ? -kNotSupported : -EINVAL;
}

// The checks before anything is read.
long check_attributes(Call& call) {
  const bpf_attr& attr = call.attr();
  if ((attr.prog_flags & ~kKnownFlags) != 0) return -EINVAL;
  if ((attr.prog_flags & kFlagTokenFd) != 0) return no_token(call.attributes.word(kProgTokenFd));
  if (attr.insn_cnt == 0 || attr.insn_cnt > kMaxInstructions) return -E2BIG;
  if (const long bad = check_target(call)) return bad;
  return attach_type_allowed(attr.prog_type, attach_type_of(attr)) ? 0 : -EINVAL;
}

Result<vm::ProgramSpec> read_spec(Call& call) {
  const bpf_attr& attr = call.attr();
  vm::ProgramSpec spec;
  spec.instructions.resize(attr.insn_cnt);
  if (!call.memory.read(spec.instructions.data(), attr.insns, attr.insn_cnt * sizeof(isa::Encoded)))
    return fail(EFAULT, "the instructions cannot be read");
  auto license = call.memory.read_string(attr.license, kMaxLicense);
  if (!license) return fail(EFAULT, "the license cannot be read");
  spec.license = std::move(*license);
  // A machine has no device to be bound to.
  if (attr.prog_ifindex != 0) return fail(EINVAL, "there is no such device");
  spec.type = vm::find_program_type(attr.prog_type);
  if (!spec.type) return fail(EINVAL, "unknown program type");
  auto name = object_name(attr.prog_name);
  if (!name) return std::unexpected(name.error());
  spec.name = std::move(*name);
  spec.expected_attach_type = attach_type_of(attr);
  spec.type = &vm::attached(*spec.type, spec.expected_attach_type);
  spec.flags = attr.prog_flags;
  return spec;
}

// Maps by descriptor or by index into fd_array.
class Maps {
 public:
  explicit Maps(Call& call) : call_(call) {}

  Result<std::shared_ptr<maps::Map>> operator()(int32_t value, bool is_index) const {
    int32_t descriptor = value;
    if (is_index) {
      const uint64_t array = call_.attr().fd_array;
      if (array == 0) return fail(EPROTO, "fd_idx without fd_array is invalid");
      if (!call_.memory.read(&descriptor, array + static_cast<uint32_t>(value) * sizeof descriptor,
                             sizeof descriptor))
        return fail(EFAULT, "fd_array cannot be read");
    }
    auto object = call_.objects.get<MapObject>(descriptor);
    if (!object)
      return fail(object.error().code, fmt::format("fd {} is not pointing to valid bpf_map", descriptor));
    return std::shared_ptr<maps::Map>(*object, (*object)->map.get());
  }

 private:
  Call& call_;
};

// A program that names a map of programs decides, or obeys, what kind of programs it holds.
Result<void> check_map_owners(Call& call, const ProgramObject& object) {
  for (const auto& map : object.program->maps()) {
    if (maps::find_map_type(map->spec().type)->value_kind != maps::ValueKind::kProgram &&
        !map->holds_programs_of_one_kind())
      continue;
    const auto owner = call.objects.map_object(*map);
    if (owner && !owner->admits(object.program_kind()))
      return fail(EINVAL, "the program's type is not that of the programs in its map");
  }
  return {};
}

Result<std::shared_ptr<ProgramObject>> create(Call& call, vm::ProgramSpec spec) {
  const bpf_attr& attr = call.attr();
  if (attr.core_relo_cnt != 0) return fail(EINVAL, "relocations by the kernel are not supported");
  auto debug = read_debug_info(call, spec.instructions);
  if (!debug) return std::unexpected(debug.error());
  spec.lines = source_lines(*debug);
  spec.function_names = function_names(*debug);

  auto object = std::make_shared<ProgramObject>();
  object->id = call.objects.next_id(Kind::kProgram);
  const vm::ProgramEnvironment environment{call.machine.helpers(), call.machine.engines(), object->id,
                                           call.machine.options().passes};
  auto program = vm::Program::create(std::move(spec), environment, Maps(call));
  if (!program) {
    call.objects.take_back(Kind::kProgram, object->id);
    return std::unexpected(program.error());
  }
  object->program = std::move(*program);
  // As the kernel, which compiles when it loads: nothing of it is left for a run, where memory may lack.
  const vm::MachineOptions& options = call.machine.options();
  object->program->executable(options.engine, options.mode);
  auto good = check_layout(*debug, *object->program);
  if (good) good = check_map_owners(call, *object);
  if (!good) {
    call.objects.take_back(Kind::kProgram, object->id);
    return std::unexpected(good.error());
  }
  object->tag = program_tag(object->program->spec().instructions, object->program->instructions());
  object->load_time = call.machine.clock().boot_ns();
  object->user = getuid();
  object->btf = std::move(debug->btf);
  object->functions = std::move(debug->functions);
  object->lines = std::move(debug->lines);
  return object;
}

}  // namespace

long prog_load(Call& call) {
  const bpf_attr& attr = call.attr();
  if (const long bad = check_attributes(call)) return bad;
  auto spec = read_spec(call);
  if (!spec) return code_of(spec.error());
  LoadLog log(attr.log_level, attr.log_buf, attr.log_size);
  if (!log.valid()) return -EINVAL;

  auto object = create(call, std::move(*spec));
  if (!object) log.add(object.error().message + '\n');
  log.add(
      "processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n");
  long result = object ? 0 : code_of(object.error());
  if (const long bad = log.finish(call.memory)) result = bad;
  if (call.size >= kLogTrueSize + sizeof(uint32_t) && !call.answer(kLogTrueSize, log.true_size()))
    result = -EFAULT;
  if (result != 0) {
    if (object) call.objects.take_back(Kind::kProgram, (*object)->id);
    return result;
  }
  call.objects.add(*object);
  return call.objects.open(*object, {});
}

long prog_bind_map(Call& call) {
  const bpf_attr& attr = call.attr();
  if (attr.prog_bind_map.flags != 0) return -EINVAL;
  const auto program = call.objects.get<ProgramObject>(static_cast<int>(attr.prog_bind_map.prog_fd));
  if (!program) return code_of(program.error());
  const auto map = call.objects.get<MapObject>(static_cast<int>(attr.prog_bind_map.map_fd));
  if (!map) return code_of(map.error());
  const auto used = (*program)->program->maps();
  const bool known = std::ranges::any_of(used, [&](const auto& m) { return m.get() == (*map)->map.get(); });
  if (!known) (*program)->program->bind_map(std::shared_ptr<maps::Map>(*map, (*map)->map.get()));
  return 0;
}

}  // namespace skep::sys
