#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "skep/forwarding.hpp"
#include "vm/device.hpp"
#include "vm/packet.hpp"
#include "vm/redirect_info.hpp"
#include "vm/run.hpp"

// What is done with a packet after its program said XDP_TX, XDP_REDIRECT or TC_ACT_REDIRECT. Semantics:
// xdp_do_redirect and skb_do_redirect of net/core/filter.c, kernel/bpf/devmap.c and cpumap.c; each packet is
// carried to its end at once, as if the driver flushed after every one.
namespace skep::vm {

// Carries one packet on, with all that comes of it. Not thread-safe.
class Forwarder {
 public:
  // Called within the run that faulted: what the fault points at is alive.
  using FaultHandler = std::function<void(const Fault& fault)>;
  // `keep_data`: whether Forwarded::data is wanted.
  Forwarder(Machine& machine, const RunOptions& options, bool keep_data, FaultHandler on_fault)
      : machine_(machine), options_(options), keep_data_(keep_data), on_fault_(std::move(on_fault)) {}

  // Whether there is anything to do after this return value of a program of the type.
  static bool concerns(const ProgramType& type, uint64_t r0);

  // Right after the runner's run over the packet, whose bytes stay as they are. Packets for CPUs wait for
  // deliver().
  void carry_on(Runner& runner, const PacketContext& packet, uint64_t r0);
  // Runs the CPUs' part, each on its CPU, which is waited for. The caller holds no CpuLock; `held`, where it
  // is given, is a runner of this thread on a CPU that it holds.
  void deliver(Runner* held);

  const Forwarding& result() const { return result_; }
  Forwarding take_result() { return std::move(result_); }

 private:
  // A packet between two programs (struct xdp_frame).
  struct Frame {
    std::vector<std::byte> bytes;  // metadata, then the packet
    uint32_t meta_size = 0;
    uint32_t headroom = 0;  // before the packet
    uint32_t ingress_ifindex = 0;
    uint32_t hops = 0;  // CPUs that it was redirected to

    std::span<const std::byte> data() const { return std::span(bytes).subspan(meta_size); }
    std::span<const std::byte> meta() const { return std::span(bytes).first(meta_size); }
  };
  struct Waiting {
    uint32_t cpu = 0;
    std::shared_ptr<maps::Object> program;  // nullptr: none
    Frame frame;
  };

  static Frame frame_of(const PacketContext& packet);
  void transmit(const Frame& frame);
  void redirect(Runner& runner, Frame frame);
  void redirect_skb(Runner& runner, const PacketContext& packet);
  void broadcast(Runner& runner, const RedirectInfo& info, const Frame& frame);
  void enqueue(Runner& runner, const Device& device, const maps::Object* program, const Frame& frame);
  uint64_t run_entry(Runner& runner, const maps::Object& program, uint32_t egress_ifindex, Frame& frame);
  void deliver_to(Runner& runner, const maps::Object& program, Frame frame);
  void went(Forwarded::To to, uint32_t index, std::span<const std::byte> data, bool redirected = true);
  void refuse(int code, std::string message) { result_.errors.push_back({code, std::move(message)}); }

  Machine& machine_;
  RunOptions options_;
  bool keep_data_;
  FaultHandler on_fault_;
  std::deque<Waiting> waiting_;
  Forwarding result_;
};

}  // namespace skep::vm
