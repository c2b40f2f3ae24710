#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "skep/error.hpp"
#include "vm/cpu.hpp"
#include "vm/host_objects.hpp"
#include "vm/program_type.hpp"

namespace skep::vm {

// One packet's memory, laid out as the kernel's test run lays it out (net/bpf/test_run.c): a page with
// headroom before the packet and room for skb_shared_info behind it. Mapped below 4 GiB.
class PacketBuffer {
 public:
  static constexpr uint32_t kPage = 4096;
  static constexpr uint32_t kXdpHeadroom = 256;  // XDP_PACKET_HEADROOM
  static constexpr uint32_t kSkbHeadroom = 64;   // NET_SKB_PAD
  static constexpr uint32_t kSharedInfo = 320;   // SKB_DATA_ALIGN(sizeof(struct skb_shared_info))
  static constexpr uint32_t kXdpFrame = 40;      // sizeof(struct xdp_frame), kept free at the front
  static constexpr uint32_t kLinkHeader = 14;    // ETH_HLEN

  PacketBuffer();  // throws std::bad_alloc when there is no memory below 4 GiB
  PacketBuffer(const PacketBuffer&) = delete;
  PacketBuffer& operator=(const PacketBuffer&) = delete;
  ~PacketBuffer();

  uint32_t begin() const { return begin_; }
  // The context lies in a page of its own, before the packet's.
  void* context() const { return memory_; }

 private:
  void* memory_;
  uint32_t begin_;
};

// What is run over, besides the bytes: the fields of the context that the caller may set, as PROG_TEST_RUN's
// ctx_in.
struct PacketInput {
  std::span<const std::byte> data;
  std::span<const std::byte> meta = {};  // XDP metadata before the packet
  uint32_t ingress_ifindex = 1;          // the loopback device, as in the kernel's test run
  uint32_t rx_queue_index = 0;
  const __sk_buff* skb = nullptr;  // mark, priority, ifindex, cb, tstamp, wire_len, gso_segs, gso_size, …
  // Of an XDP packet that was redirected: where it is about to leave, and the room that is left before it.
  uint32_t egress_ifindex = 0;
  uint32_t headroom = PacketBuffer::kXdpHeadroom;
};

// The longest packet that a program of the type takes, in bytes.
uint32_t max_packet_size(const ProgramType& type);

// The object that a packet's socket is where something is kept for it. It ends with the packet.
class PacketSocket {
 public:
  PacketSocket() = default;
  PacketSocket(PacketSocket&& other) noexcept
      : owner_(other.owner_), object_(std::exchange(other.object_, nullptr)) {}
  PacketSocket& operator=(PacketSocket&&) = delete;
  ~PacketSocket();
  // Made on first use.
  maps::HostObject& object(HostObjectTable& owner);

 private:
  HostObjectTable* owner_ = nullptr;
  std::shared_ptr<maps::HostObject> object_;
};

// A packet on a CPU while programs run over it: the context and the region the packet takes, and what the
// packet helpers do to them.
class PacketContext {
 public:
  // EINVAL: shorter than a link-layer header, longer than the buffer, or fields that the kernel refuses.
  static Result<PacketContext> create(Cpu& cpu, const ProgramType& type, const PacketInput& input) {
    return create(cpu, cpu.packet_buffer(), type, input);
  }
  // The same in another buffer of the CPU's.
  static Result<PacketContext> create(Cpu& cpu, PacketBuffer& buffer, const ProgramType& type,
                                      const PacketInput& input);

  // The struct bpf_sock that an skb's `sk` leads to; size 0: there is none.
  Region socket() const { return socket_; }
  bool has_socket_at(uint64_t address) const { return socket_.size != 0 && address == socket_.begin; }
  // What stands for it. Only where there is one.
  maps::HostObject& socket_object();

  void* context() const { return context_; }
  uint32_t context_size() const { return type_->context_size; }
  // Tells the CPU's next run what it may touch.
  void attach(Cpu& cpu);

  // The packet as it is now.
  std::span<std::byte> data() const;
  std::span<std::byte> meta() const;
  // Bytes before the packet.
  uint32_t headroom() const { return data_ - hard_start_; }
  // What PROG_TEST_RUN copies out: a packet without its link-layer header gets it back, zeroed.
  std::vector<std::byte> output() const;

  // bpf_xdp_adjust_head, _tail and _meta: 0 or a negative error number.
  long adjust_head(int32_t delta);
  long adjust_tail(int32_t delta);
  long adjust_meta(int32_t delta);

  // bpf_skb_load_bytes' view: bytes from the start of data, or nullptr.
  const std::byte* at(uint64_t offset, uint64_t size) const;
  // LD_ABS and LD_IND: negative offsets are relative to the network or link-layer header (SKF_NET_OFF,
  // SKF_LL_OFF).
  const std::byte* filter_load(int32_t offset, uint32_t size) const;

 private:
  PacketContext(Cpu& cpu, PacketBuffer& buffer, const ProgramType& type);
  Result<void> fill_xdp(const PacketInput& input);
  Result<void> fill_skb(const PacketInput& input);
  void fill_socket(uint32_t protocol);
  void clear_headroom();
  void publish();  // after data, data_end or data_meta moved

  Cpu* cpu_;
  const ProgramType* type_;
  void* context_;
  uint32_t hard_start_;
  uint32_t meta_ = 0;  // addresses
  uint32_t data_ = 0;
  uint32_t end_ = 0;
  uint32_t link_header_ = 0;
  Region socket_;
  PacketSocket socket_object_;
};

}  // namespace skep::vm
