#include <algorithm>
#include <cerrno>
#include <iterator>

#include "syscall/command.hpp"

// Attaching. XDP programs can be linked to a machine's devices; packets reach them only through
// BPF_PROG_TEST_RUN. A machine has no cgroups, tracepoints, sockets or kernel functions.
namespace skep::sys {
namespace {

// Attach types that <linux/bpf.h> of Debian 12 lacks.
constexpr uint32_t kTcxIngress = 46;
constexpr uint32_t kTcxEgress = 47;
constexpr uint32_t kUnixConnect = 49;  // BPF_CGROUP_UNIX_CONNECT to BPF_CGROUP_UNIX_GETSOCKNAME
constexpr uint32_t kUnixLast = 53;
constexpr uint32_t kNetkitPrimary = 54;
constexpr uint32_t kNetkitPeer = 55;

// attach_type_to_prog_type, and what the attaching fails with on a machine that has nothing of the sort.
struct AttachRow {
  uint32_t attach_type;
  uint32_t prog_type;
  int missing;
};
constexpr AttachRow kAttachTypes[] = {
    {BPF_CGROUP_INET_INGRESS, BPF_PROG_TYPE_CGROUP_SKB, EBADF},
    {BPF_CGROUP_INET_EGRESS, BPF_PROG_TYPE_CGROUP_SKB, EBADF},
    {BPF_CGROUP_INET_SOCK_CREATE, BPF_PROG_TYPE_CGROUP_SOCK, EBADF},
    {BPF_CGROUP_INET_SOCK_RELEASE, BPF_PROG_TYPE_CGROUP_SOCK, EBADF},
    {BPF_CGROUP_INET4_POST_BIND, BPF_PROG_TYPE_CGROUP_SOCK, EBADF},
    {BPF_CGROUP_INET6_POST_BIND, BPF_PROG_TYPE_CGROUP_SOCK, EBADF},
    {BPF_CGROUP_INET4_BIND, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_INET6_BIND, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_INET4_CONNECT, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_INET6_CONNECT, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_INET4_GETPEERNAME, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_INET6_GETPEERNAME, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_INET4_GETSOCKNAME, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_INET6_GETSOCKNAME, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_UDP4_SENDMSG, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_UDP6_SENDMSG, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_UDP4_RECVMSG, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_UDP6_RECVMSG, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF},
    {BPF_CGROUP_SOCK_OPS, BPF_PROG_TYPE_SOCK_OPS, EBADF},
    {BPF_CGROUP_DEVICE, BPF_PROG_TYPE_CGROUP_DEVICE, EBADF},
    {BPF_CGROUP_SYSCTL, BPF_PROG_TYPE_CGROUP_SYSCTL, EBADF},
    {BPF_CGROUP_GETSOCKOPT, BPF_PROG_TYPE_CGROUP_SOCKOPT, EBADF},
    {BPF_CGROUP_SETSOCKOPT, BPF_PROG_TYPE_CGROUP_SOCKOPT, EBADF},
    {BPF_SK_MSG_VERDICT, BPF_PROG_TYPE_SK_MSG, EINVAL},
    {BPF_SK_SKB_STREAM_PARSER, BPF_PROG_TYPE_SK_SKB, EINVAL},
    {BPF_SK_SKB_STREAM_VERDICT, BPF_PROG_TYPE_SK_SKB, EINVAL},
    {BPF_SK_SKB_VERDICT, BPF_PROG_TYPE_SK_SKB, EINVAL},
    {BPF_FLOW_DISSECTOR, BPF_PROG_TYPE_FLOW_DISSECTOR, EINVAL},
    {BPF_SK_LOOKUP, BPF_PROG_TYPE_SK_LOOKUP, EINVAL},
    {BPF_XDP, BPF_PROG_TYPE_XDP, EINVAL},
    {kTcxIngress, BPF_PROG_TYPE_SCHED_CLS, ENODEV},
    {kTcxEgress, BPF_PROG_TYPE_SCHED_CLS, ENODEV},
    {kNetkitPrimary, BPF_PROG_TYPE_SCHED_CLS, EINVAL},
    {kNetkitPeer, BPF_PROG_TYPE_SCHED_CLS, EINVAL},
};

const AttachRow* find_attach_type(uint32_t type) {
  static constexpr AttachRow kUnix{kUnixConnect, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, EBADF};
  if (type >= kUnixConnect && type <= kUnixLast) return &kUnix;
  const auto* row = std::ranges::find(kAttachTypes, type, &AttachRow::attach_type);
  return row == std::end(kAttachTypes) ? nullptr : row;
}

// bpf_prog_attach_check_attach_type
bool may_link(const vm::Program& program, uint32_t attach_type) {
  const uint32_t type = program.type().id;
  switch (type) {
    case BPF_PROG_TYPE_PERF_EVENT:
    case BPF_PROG_TYPE_TRACEPOINT:
      return attach_type == BPF_PERF_EVENT;
    case BPF_PROG_TYPE_KPROBE:
      return attach_type == BPF_PERF_EVENT || attach_type == BPF_TRACE_KPROBE_MULTI;
    case BPF_PROG_TYPE_CGROUP_SOCK:
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
    case BPF_PROG_TYPE_CGROUP_SOCKOPT:
    case BPF_PROG_TYPE_SK_LOOKUP:
      return attach_type == program.spec().expected_attach_type;
    default: {
      const AttachRow* row = find_attach_type(attach_type);
      return row && row->prog_type == type;
    }
  }
}

long link_xdp(Call& call, std::shared_ptr<ProgramObject> program) {
  const bpf_attr& attr = call.attr();
  // Which of a device's ways to run XDP (XDP_FLAGS_SKB_MODE, _DRV_MODE, _HW_MODE): one at most, and the
  // loopback device has only the first.
  constexpr uint32_t kSkbMode = 2;
  constexpr uint32_t kOtherModes = 4 | 8;
  const uint32_t ifindex = attr.link_create.target_ifindex;
  if (!call.machine.devices().has_device(ifindex)) return -EINVAL;
  if ((attr.link_create.flags & ~(kSkbMode | kOtherModes)) != 0) return -EINVAL;
  if ((attr.link_create.flags & kOtherModes) != 0)
    return (attr.link_create.flags & kSkbMode) != 0 ? -EINVAL : -EOPNOTSUPP;
  const uint32_t attached = program->program->spec().expected_attach_type;
  if (attached == BPF_XDP_DEVMAP || attached == BPF_XDP_CPUMAP) return -EINVAL;
  call.objects.sweep();
  const auto link = std::make_shared<LinkObject>(std::move(program), ifindex);
  if (!call.objects.add_link(link)) return -EBUSY;
  return call.objects.open(link, {});
}

}  // namespace

long link_create(Call& call) {
  const bpf_attr& attr = call.attr();
  auto program = call.objects.get<ProgramObject>(static_cast<int>(attr.link_create.prog_fd));
  if (!program) return code_of(program.error());
  if (!may_link(*(*program)->program, attr.link_create.attach_type)) return -EINVAL;
  if (attr.link_create.attach_type == BPF_XDP) return link_xdp(call, std::move(*program));
  if (attr.link_create.attach_type == BPF_PERF_EVENT) {
    // There are no perf events here, so whatever the descriptor is it is none; libbpf asks with -1 to learn
    // whether such links are known at all.
    return attr.link_create.flags != 0 ? -EINVAL : -EBADF;
  }
  if (attr.link_create.attach_type == BPF_TRACE_KPROBE_MULTI) return -EOPNOTSUPP;
  return -find_attach_type(attr.link_create.attach_type)->missing;
}

long link_update(Call& call) {
  const bpf_attr& attr = call.attr();
  const uint32_t flags = attr.link_update.flags;
  if ((flags & ~BPF_F_REPLACE) != 0) return -EINVAL;
  const auto link = call.objects.get<LinkObject>(static_cast<int>(attr.link_update.link_fd));
  if (!link) return code_of(link.error());
  auto program = call.objects.get<ProgramObject>(static_cast<int>(attr.link_update.new_prog_fd));
  if (!program) return code_of(program.error());
  std::shared_ptr<ProgramObject> old;
  if ((flags & BPF_F_REPLACE) != 0) {
    auto found = call.objects.get<ProgramObject>(static_cast<int>(attr.link_update.old_prog_fd));
    if (!found) return code_of(found.error());
    old = std::move(*found);
  } else if (attr.link_update.old_prog_fd != 0) {
    return -EINVAL;
  }
  if ((*link)->ifindex() == 0) return -ENOLINK;
  if ((*program)->program->type().id != BPF_PROG_TYPE_XDP) return -EINVAL;
  return (*link)->replace(std::move(*program), old.get()) ? 0 : -EPERM;
}

long link_detach(Call& call) {
  const auto link = call.objects.get<LinkObject>(static_cast<int>(call.attr().link_detach.link_fd));
  if (!link) return code_of(link.error());
  (*link)->detach();
  return 0;
}

long prog_attach(Call& call) {
  const bpf_attr& attr = call.attr();
  const AttachRow* row = find_attach_type(attr.attach_type);
  if (!row) return -EINVAL;
  const auto program = call.objects.get<ProgramObject>(static_cast<int>(attr.attach_bpf_fd));
  if (!program) return code_of(program.error());
  if ((*program)->program->type().id != row->prog_type || !may_link(*(*program)->program, attr.attach_type))
    return -EINVAL;
  return -row->missing;
}

long prog_detach(Call& call) {
  const AttachRow* row = find_attach_type(call.attr().attach_type);
  return row ? -row->missing : -EINVAL;
}

long prog_query(Call& call) {
  if ((call.attr().query.query_flags & ~BPF_F_QUERY_EFFECTIVE) != 0) return -EINVAL;
  const AttachRow* row = find_attach_type(call.attr().query.attach_type);
  return row ? -row->missing : -EINVAL;
}

long raw_tracepoint_open(Call& call) {
  const bpf_attr& attr = call.attr();
  const auto program = call.objects.get<ProgramObject>(static_cast<int>(attr.raw_tracepoint.prog_fd));
  if (!program) return code_of(program.error());
  const uint32_t type = (*program)->program->type().id;
  if (type != BPF_PROG_TYPE_RAW_TRACEPOINT && type != BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE) return -EINVAL;
  constexpr size_t kMaxName = 127;
  if (!call.memory.read_string(attr.raw_tracepoint.name, kMaxName)) return -EFAULT;
  return -ENOENT;
}

}  // namespace skep::sys
