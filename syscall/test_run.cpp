#include <linux/if_ether.h>
#include <linux/ip.h>
#include <netinet/ip6.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "syscall/command.hpp"
#include "vm/packet.hpp"
#include "vm/run.hpp"

// BPF_PROG_TEST_RUN (net/bpf/test_run.c).
namespace skep::sys {
namespace {

using vm::ContextKind;

constexpr uint32_t kRawLimit = 1U << 30;

struct Outcome {
  uint32_t retval = 0;
  uint32_t duration = 0;
};

// The simulated CPU to run on: the one asked for, or the one that stands for the host CPU we are on. With a
// seed runs must not depend on where the host put us.
Result<unsigned> choose_cpu(const Call& call) {
  const bpf_attr& attr = call.attr();
  const unsigned cpus = call.machine.cpus();
  if ((attr.test.flags & BPF_F_TEST_RUN_ON_CPU) != 0) {
    if (attr.test.cpu >= cpus) return fail(ENXIO, "there is no such CPU");
    return attr.test.cpu;
  }
  if (attr.test.cpu != 0) return fail(EINVAL, "cpu without BPF_F_TEST_RUN_ON_CPU");
  if (call.machine.options().seed) return 0U;
  return static_cast<unsigned>(std::max(sched_getcpu(), 0)) % cpus;
}

// Runs as often as asked for. The caller holds the CPU.
template <class Run>
Result<Outcome> repeat(Call& call, ProgramObject& object, vm::Cpu& cpu, Run run) {
  vm::Runner runner(cpu, *object.program, vm::default_run_options(call.machine));
  const uint32_t times = std::max(call.attr().test.repeat, 1U);
  const bool counted = call.objects.statistics_enabled().load(std::memory_order_relaxed) != 0;  // a hint
  const uint64_t begin = call.machine.clock().monotonic_ns();
  Outcome outcome;
  for (uint32_t i = 0; i < times; ++i) {
    const vm::RunResult result = run(runner);
    if (result.faulted) {
      call.machine.trace(cpu.id(),
                         "skep: program '" + object.program->spec().name + "': " + vm::describe(cpu.fault()));
      return fail(EFAULT, "the program faulted");
    }
    outcome.retval = static_cast<uint32_t>(result.r0);
  }
  const uint64_t time = call.machine.clock().monotonic_ns() - begin;
  outcome.duration = static_cast<uint32_t>(std::min<uint64_t>(time / times, UINT32_MAX));
  if (counted) {
    object.runs.fetch_add(times, std::memory_order_relaxed);  // counters, nothing hangs on them
    object.run_time_ns.fetch_add(time, std::memory_order_relaxed);
  }
  return outcome;
}

// bpf_test_finish
long finish(Call& call, std::span<const std::byte> data, const Outcome& outcome) {
  const bpf_attr& attr = call.attr();
  const auto size = static_cast<uint32_t>(data.size());
  const bool cut = attr.test.data_size_out != 0 && size > attr.test.data_size_out;
  const uint32_t copied = cut ? attr.test.data_size_out : size;
  if (attr.test.data_out != 0 && !call.memory.write(attr.test.data_out, data.data(), copied)) return -EFAULT;
  if (!call.answer(offsetof(bpf_attr, test.data_size_out), size) ||
      !call.answer(offsetof(bpf_attr, test.retval), outcome.retval) ||
      !call.answer(offsetof(bpf_attr, test.duration), outcome.duration))
    return -EFAULT;
  return cut ? -ENOSPC : 0;
}

// bpf_ctx_init: the caller's context, zero beyond what it gave; nullopt: it takes no part in contexts.
template <class Context>
Result<std::optional<Context>> read_context(Call& call) {
  const bpf_attr& attr = call.attr();
  if (attr.test.ctx_in == 0 && attr.test.ctx_out == 0) return std::nullopt;
  Context context{};
  if (attr.test.ctx_in != 0) {
    const uint32_t given = attr.test.ctx_size_in;
    if (const long bad = check_tail_zero(call.memory, attr.test.ctx_in, sizeof context, given))
      return fail(static_cast<int>(-bad), "ctx_in");
    if (!call.memory.read(&context, attr.test.ctx_in, std::min<size_t>(given, sizeof context)))
      return fail(EFAULT, "ctx_in cannot be read");
  }
  return context;
}

// bpf_ctx_finish
template <class Context>
long write_context(Call& call, const std::optional<Context>& context) {
  const bpf_attr& attr = call.attr();
  if (!context || attr.test.ctx_out == 0) return 0;
  const auto size = static_cast<uint32_t>(sizeof(Context));
  const uint32_t copied = std::min(size, attr.test.ctx_size_out);
  if (!call.memory.write(attr.test.ctx_out, &*context, copied)) return -EFAULT;
  if (!call.answer(offsetof(bpf_attr, test.ctx_size_out), size)) return -EFAULT;
  return copied < size ? -ENOSPC : 0;
}

Result<std::vector<std::byte>> read_data(Call& call) {
  std::vector<std::byte> data(call.attr().test.data_size_in);
  if (!call.memory.read(data.data(), call.attr().test.data_in, data.size()))
    return fail(EFAULT, "data_in cannot be read");
  return data;
}

// What the kernel asks of struct xdp_md.
Result<void> check_context(const xdp_md& context, uint32_t size) {
  if (context.data_meta != 0 || context.data_end != size || context.data > context.data_end)
    return fail(EINVAL, "data, data_end and data_meta do not fit the data");
  if (context.data % 4 != 0 || context.data > 255) return fail(EINVAL, "impossible metadata length");
  return {};
}

Result<void> check_device(Call& call, const xdp_md& context) {
  if (context.egress_ifindex != 0) return fail(EINVAL, "egress_ifindex");
  if (context.ingress_ifindex == 0)
    return context.rx_queue_index == 0 ? Result<void>{} : fail(EINVAL, "rx_queue_index without a device");
  if (!call.machine.devices().has_device(context.ingress_ifindex))
    return fail(ENODEV, "there is no such device");
  if (context.rx_queue_index != 0) return fail(EINVAL, "there is no such queue");
  return {};
}

long run_xdp(Call& call, ProgramObject& object, vm::Cpu& cpu) {
  const bpf_attr& attr = call.attr();
  const uint32_t attached = object.program->spec().expected_attach_type;
  if (attached == BPF_XDP_DEVMAP || attached == BPF_XDP_CPUMAP) return -EINVAL;
  if ((attr.test.flags & ~BPF_F_TEST_RUN_ON_CPU) != 0 || attr.test.batch_size != 0) return -EINVAL;
  auto context = read_context<xdp_md>(call);
  if (!context) return code_of(context.error());
  const uint32_t size = attr.test.data_size_in;
  if (*context)
    if (auto good = check_context(**context, size); !good) return code_of(good.error());
  const uint32_t meta = *context ? (*context)->data : 0;
  if (size < vm::PacketBuffer::kLinkHeader || size - meta > vm::max_packet_size(object.program->type()))
    return -EINVAL;
  const auto data = read_data(call);
  if (!data) return code_of(data.error());
  if (*context)
    if (auto good = check_device(call, **context); !good) return code_of(good.error());

  const std::span<const std::byte> bytes(*data);
  vm::PacketInput input{.data = bytes.subspan(meta), .meta = bytes.first(meta)};
  if (*context && (*context)->ingress_ifindex != 0) input.ingress_ifindex = (*context)->ingress_ifindex;
  auto packet = vm::PacketContext::create(cpu, object.program->type(), input);
  if (!packet) return code_of(packet.error());
  const auto outcome = repeat(call, object, cpu, [&](vm::Runner& runner) { return runner.run(*packet); });
  if (!outcome) return code_of(outcome.error());

  std::vector<std::byte> out(packet->meta().begin(), packet->meta().end());
  if (*context) {
    (*context)->data = static_cast<uint32_t>(out.size());
    (*context)->data_end = static_cast<uint32_t>(out.size() + packet->data().size());
  }
  out.insert(out.end(), packet->data().begin(), packet->data().end());
  if (const long bad = finish(call, out, *outcome)) return bad;
  return write_context(call, *context);
}

// The fields of struct __sk_buff that a test run may set (convert___skb_to_skb); the others have to be zero.
struct Span {
  size_t begin;
  size_t end;
};
#define SKEP_FIELD(first, last) \
  Span { offsetof(__sk_buff, first), offsetof(__sk_buff, last) + sizeof(__sk_buff::last) }
constexpr Span kSettable[] = {
    SKEP_FIELD(mark, mark),       SKEP_FIELD(priority, ifindex),  SKEP_FIELD(cb, cb),
    SKEP_FIELD(tstamp, gso_segs), SKEP_FIELD(gso_size, gso_size), SKEP_FIELD(hwtstamp, hwtstamp)};
#undef SKEP_FIELD

bool only_settable(const __sk_buff& skb) {
  std::array<std::byte, sizeof(__sk_buff)> bytes{};
  std::memcpy(bytes.data(), &skb, sizeof skb);
  for (const Span& field : kSettable)
    std::fill(bytes.begin() + field.begin, bytes.begin() + field.end, std::byte{});
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{}; });
}

// convert_skb_to___skb
void take_back(__sk_buff& to, const __sk_buff& from) {
  to.mark = from.mark;
  to.priority = from.priority;
  to.ingress_ifindex = from.ingress_ifindex;
  to.ifindex = from.ifindex;
  to.tstamp = from.tstamp;
  std::ranges::copy(from.cb, to.cb);
  to.wire_len = from.wire_len;
  to.gso_segs = from.gso_segs;
  to.hwtstamp = from.hwtstamp;
}

// The kernel's test run, unlike its network, wants IP headers whole.
bool ends_inside_ip_header(std::span<const std::byte> packet) {
  const auto at = [&](size_t n) { return std::to_integer<unsigned>(packet[n]); };
  const unsigned ethertype = at(12) << 8 | at(13);
  const size_t length = packet.size() - vm::PacketBuffer::kLinkHeader;
  return (ethertype == ETH_P_IP && length < sizeof(iphdr)) ||
         (ethertype == ETH_P_IPV6 && length < sizeof(ip6_hdr));
}

long run_skb(Call& call, ProgramObject& object, vm::Cpu& cpu) {
  const bpf_attr& attr = call.attr();
  if ((attr.test.flags & ~(BPF_F_TEST_RUN_ON_CPU | BPF_F_TEST_SKB_CHECKSUM_COMPLETE)) != 0 ||
      attr.test.batch_size != 0)
    return -EINVAL;
  const uint32_t size = attr.test.data_size_in;
  if (size < vm::PacketBuffer::kLinkHeader || size > vm::max_packet_size(object.program->type()))
    return -EINVAL;
  const auto data = read_data(call);
  if (!data) return code_of(data.error());
  auto context = read_context<__sk_buff>(call);
  if (!context) return code_of(context.error());
  if (*context && (*context)->ifindex > 1 && !call.machine.devices().has_device((*context)->ifindex))
    return -ENODEV;
  if (ends_inside_ip_header(*data)) return -EINVAL;
  if (*context && !only_settable(**context)) return -EINVAL;

  const vm::PacketInput input{.data = *data, .skb = *context ? &**context : nullptr};
  auto packet = vm::PacketContext::create(cpu, object.program->type(), input);
  if (!packet) return code_of(packet.error());
  const auto outcome = repeat(call, object, cpu, [&](vm::Runner& runner) { return runner.run(*packet); });
  if (!outcome) return code_of(outcome.error());
  if (*context) take_back(**context, *static_cast<const __sk_buff*>(packet->context()));
  if (const long bad = finish(call, packet->output(), *outcome)) return bad;
  return write_context(call, *context);
}

// data_in is the program's memory, and data_out what became of it.
long run_raw(Call& call, ProgramObject& object, vm::Cpu& cpu) {
  const bpf_attr& attr = call.attr();
  if (attr.test.ctx_in != 0 || attr.test.ctx_out != 0 || attr.test.batch_size != 0 ||
      (attr.test.flags & ~BPF_F_TEST_RUN_ON_CPU) != 0 || attr.test.data_size_in > kRawLimit)
    return -EINVAL;
  auto data = read_data(call);
  if (!data) return code_of(data.error());
  const auto outcome = repeat(call, object, cpu, [&](vm::Runner& runner) { return runner.run(*data); });
  return outcome ? finish(call, *data, *outcome) : code_of(outcome.error());
}

// bpf_prog_test_run_raw_tp. The kernel asks for as many arguments as the program may read; here those that
// are not given are zero.
long run_arguments(Call& call, ProgramObject& object, vm::Cpu& cpu) {
  const bpf_attr& attr = call.attr();
  std::array<uint64_t, vm::kMaxArguments> arguments{};
  if (attr.test.ctx_size_in > sizeof arguments) return -EINVAL;
  if (!call.memory.read(arguments.data(), attr.test.ctx_in, attr.test.ctx_size_in)) return -EFAULT;
  const auto outcome = repeat(call, object, cpu, [&](vm::Runner& runner) { return runner.run(arguments); });
  if (!outcome) return code_of(outcome.error());
  return call.answer(offsetof(bpf_attr, test.retval), outcome->retval) ? 0 : -EFAULT;
}

// What it asks before it looks for the CPU.
bool refuses_arguments(const bpf_attr& attr) {
  return attr.test.data_in != 0 || attr.test.data_out != 0 || attr.test.ctx_out != 0 ||
         attr.test.duration != 0 || attr.test.repeat != 0 || attr.test.batch_size != 0;
}

}  // namespace

long prog_test_run(Call& call) {
  const bpf_attr& attr = call.attr();
  if ((attr.test.ctx_size_in != 0) != (attr.test.ctx_in != 0)) return -EINVAL;
  if ((attr.test.ctx_size_out != 0) != (attr.test.ctx_out != 0)) return -EINVAL;
  const auto object = call.objects.get<ProgramObject>(static_cast<int>(attr.test.prog_fd));
  if (!object) return code_of(object.error());
  const ContextKind kind = (*object)->program->type().context;
  if (kind == ContextKind::kNone) return -kNotSupported;
  if (kind == ContextKind::kArguments && refuses_arguments(attr)) return -EINVAL;
  const auto number = choose_cpu(call);
  if (!number) return code_of(number.error());
  vm::Cpu& cpu = call.machine.cpu(*number);
  const vm::CpuLock lock(cpu);
  if (!lock) return -EBUSY;
  switch (kind) {
    case ContextKind::kXdp:
      return run_xdp(call, **object, cpu);
    case ContextKind::kSkb:
      return run_skb(call, **object, cpu);
    case ContextKind::kRaw:
      return run_raw(call, **object, cpu);
    case ContextKind::kArguments:
      return run_arguments(call, **object, cpu);
    case ContextKind::kNone:
      break;
  }
  return -kNotSupported;
}

}  // namespace skep::sys
