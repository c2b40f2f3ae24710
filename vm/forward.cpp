#include "vm/forward.hpp"

#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace skep::vm {
namespace {

// A CPU map's program may redirect to a CPU again. The kernel lets such a packet go round for ever.
constexpr uint32_t kMaxHops = 32;

const Program& program_of(const maps::Object& object) { return static_cast<const Program&>(object); }

}  // namespace

bool Forwarder::concerns(const ProgramType& type, uint64_t r0) {
  const auto verdict = static_cast<uint32_t>(r0);
  if (type.context == ContextKind::kXdp) return verdict == XDP_TX || verdict == XDP_REDIRECT;
  return type.link_layer && verdict == TC_ACT_REDIRECT;
}

Forwarder::Frame Forwarder::frame_of(const PacketContext& packet) {
  Frame frame;
  const auto meta = packet.meta();
  const auto data = packet.data();
  frame.bytes.reserve(meta.size() + data.size());
  frame.bytes.assign(meta.begin(), meta.end());
  frame.bytes.insert(frame.bytes.end(), data.begin(), data.end());
  frame.meta_size = static_cast<uint32_t>(meta.size());
  frame.headroom = packet.headroom();
  frame.ingress_ifindex = static_cast<const xdp_md*>(packet.context())->ingress_ifindex;
  return frame;
}

void Forwarder::carry_on(Runner& runner, const PacketContext& packet, uint64_t r0) {
  if (runner.program().type().context != ContextKind::kXdp) return redirect_skb(runner, packet);
  if (static_cast<uint32_t>(r0) == XDP_TX) return transmit(frame_of(packet));
  redirect(runner, frame_of(packet));
}

void Forwarder::went(Forwarded::To to, uint32_t index, std::span<const std::byte> data, bool redirected) {
  Forwarded& packet = result_.packets.emplace_back(to, index, redirected, std::vector<std::byte>{});
  if (keep_data_) packet.data.assign(data.begin(), data.end());
}

void Forwarder::transmit(const Frame& frame) {
  const Device* device = machine_.devices().find(frame.ingress_ifindex);
  if (!device) return refuse(ENODEV, fmt::format("XDP_TX: there is no device {}", frame.ingress_ifindex));
  device->send(frame.data());
  went(Forwarded::To::kDevice, device->ifindex(), frame.data(), false);
}

// __xdp_do_redirect_frame
void Forwarder::redirect(Runner& runner, Frame frame) {
  const RedirectInfo info = std::exchange(runner.cpu().redirect, {});
  switch (info.kind) {
    case RedirectInfo::Kind::kNone:
      return refuse(EBADRQC, "XDP_REDIRECT without bpf_redirect or bpf_redirect_map before it");
    case RedirectInfo::Kind::kDevice: {
      const Device* device = machine_.devices().find(info.index);
      if (!device) return refuse(EINVAL, fmt::format("redirect: there is no device {}", info.index));
      return enqueue(runner, *device, nullptr, frame);
    }
    case RedirectInfo::Kind::kBroadcast:
      return broadcast(runner, info, frame);
    case RedirectInfo::Kind::kTarget:
      break;
  }
  if (info.map->redirect_kind() == maps::RedirectKind::kCpu) {
    ++frame.hops;
    waiting_.push_back({info.target->index, info.target->program, std::move(frame)});
    return;
  }
  const Device* device = machine_.devices().find(info.target->index);
  if (!device) return refuse(EINVAL, fmt::format("redirect: there is no device {}", info.target->index));
  enqueue(runner, *device, info.target->program.get(), frame);
}

// dev_map_enqueue_multi: devices that cannot take the packet are passed over.
void Forwarder::broadcast(Runner& runner, const RedirectInfo& info, const Frame& frame) {
  const bool spare_ingress = (info.flags & BPF_F_EXCLUDE_INGRESS) != 0;
  bool any = false;
  for (const maps::RedirectTarget* target : info.map->targets()) {
    const Device* device = machine_.devices().find(target->index);
    if (!device || device->refuses(frame.data().size()) != 0) continue;
    if (spare_ingress && device->ifindex() == frame.ingress_ifindex) continue;
    any = true;
    enqueue(runner, *device, target->program.get(), frame);
  }
  if (!any) ++result_.dropped;
}

// __xdp_enqueue, and what bq_xmit_all does when the queue is flushed.
void Forwarder::enqueue(Runner& runner, const Device& device, const maps::Object* program,
                        const Frame& frame) {
  if (const int code = device.refuses(frame.data().size()); code != 0) {
    const char* why = code == EOPNOTSUPP ? "does not take redirected packets"
                      : code == ENETDOWN ? "is down"
                                         : "has a smaller MTU";
    return refuse(code, fmt::format("redirect: a packet of {} bytes to device {} ({}), which {}",
                                    frame.data().size(), device.ifindex(), device.name(), why));
  }
  if (!program) {
    device.send(frame.data());
    return went(Forwarded::To::kDevice, device.ifindex(), frame.data());
  }
  Frame leaving = frame;
  const uint32_t faults = result_.faults;
  const uint64_t verdict = run_entry(runner, *program, device.ifindex(), leaving);
  if (result_.faults != faults) return;
  if (verdict != XDP_PASS) {
    ++result_.dropped;
    return;
  }
  device.send(leaving.data());
  went(Forwarded::To::kDevice, device.ifindex(), leaving.data());
}

// Runs the program of a map's element over the frame, which becomes what the program makes of it.
uint64_t Forwarder::run_entry(Runner& runner, const maps::Object& program, uint32_t egress_ifindex,
                              Frame& frame) {
  Cpu& cpu = runner.cpu();
  // The kernel does not carry the receive queue over: 0.
  auto packet = PacketContext::create(cpu, cpu.forward_buffer(), program_of(program).type(),
                                      {.data = frame.data(),
                                       .meta = frame.meta(),
                                       .ingress_ifindex = frame.ingress_ifindex,
                                       .egress_ifindex = egress_ifindex,
                                       .headroom = frame.headroom});
  if (!packet) {
    // What a program has left is a packet that the next one can take.
    refuse(packet.error().code, packet.error().message);
    return XDP_ABORTED;
  }
  const RunResult result = runner.run_other(program_of(program), *packet);
  if (result.faulted) {
    ++result_.faults;
    on_fault_(cpu.fault());
    return XDP_ABORTED;
  }
  const uint32_t hops = frame.hops;
  frame = frame_of(*packet);
  frame.hops = hops;
  return static_cast<uint32_t>(result.r0);
}

// skb_do_redirect, __bpf_tx_skb and __bpf_rx_skb.
void Forwarder::redirect_skb(Runner& runner, const PacketContext& packet) {
  const RedirectInfo info = std::exchange(runner.cpu().redirect, {});
  const Device* device = machine_.devices().find(info.index);
  if (!device) return refuse(EINVAL, fmt::format("redirect: there is no device {}", info.index));
  if (!device->up())
    return refuse(ENETDOWN,
                  fmt::format("redirect: device {} ({}) is down", device->ifindex(), device->name()));
  const auto data = packet.data();
  if ((info.flags & BPF_F_INGRESS) != 0) return went(Forwarded::To::kDeviceIngress, device->ifindex(), data);
  device->send(data);
  went(Forwarded::To::kDevice, device->ifindex(), data);
}

void Forwarder::deliver(Runner* held) {
  while (!waiting_.empty()) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    if (next.frame.hops > kMaxHops) {
      refuse(ELOOP, fmt::format("redirect: from CPU to CPU more than {} times", kMaxHops));
    } else if (!next.program) {
      went(Forwarded::To::kCpu, next.cpu, next.frame.data());
    } else if (held && held->cpu().id() == next.cpu) {
      deliver_to(*held, *next.program, std::move(next.frame));
    } else {
      Cpu& cpu = machine_.cpu(next.cpu);
      const CpuLock lock(cpu);
      if (!lock) {
        refuse(EBUSY, fmt::format("redirect: CPU {} is held", next.cpu));
        continue;
      }
      Runner runner(cpu, program_of(*next.program), options_);
      deliver_to(runner, *next.program, std::move(next.frame));
    }
  }
}

// cpu_map_bpf_prog_run_xdp
void Forwarder::deliver_to(Runner& runner, const maps::Object& program, Frame frame) {
  const uint32_t faults = result_.faults;
  const uint64_t verdict = run_entry(runner, program, 0, frame);
  if (result_.faults != faults) return;
  if (verdict == XDP_PASS)
    went(Forwarded::To::kCpu, runner.cpu().id(), frame.data());
  else if (verdict == XDP_REDIRECT)
    redirect(runner, std::move(frame));
  else
    ++result_.dropped;
}

}  // namespace skep::vm
