#include "vm/packet.hpp"

#include <fmt/format.h>
#include <linux/ip.h>
#include <netinet/ip6.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>

#include "vm/machine.hpp"

namespace skep::vm {
namespace {

// In the context's page, behind every context.
constexpr size_t kSocketOffset = 2048;

constexpr uint32_t kMaxMetadata = 255;  // xdp_metalen_invalid: struct skb_shared_info's meta_len is a byte
constexpr uint32_t kMaxWireLength = 65536;     // GSO_LEGACY_MAX_SIZE
constexpr uint32_t kMaxSegments = 65535;       // GSO_MAX_SEGS
constexpr int32_t kNetworkOffset = -0x100000;  // SKF_NET_OFF
constexpr int32_t kLinkOffset = -0x200000;     // SKF_LL_OFF
constexpr uint32_t kMinEthertype = 0x600;      // ETH_P_802_3_MIN
constexpr uint16_t kEth8023 = 1;               // ETH_P_802_3
constexpr uint16_t kEth8022 = 4;               // ETH_P_802_2

template <class T>
T* pointer(uint32_t address) {
  return reinterpret_cast<T*>(static_cast<uintptr_t>(address));
}

// As one block: the standard library's copy of a span goes byte by byte.
void copy(std::span<const std::byte> bytes, uint32_t to) {
  if (!bytes.empty()) std::memcpy(pointer<std::byte>(to), bytes.data(), bytes.size());
}

// eth_type_trans of net/ethernet/eth.c on the loopback device, whose address is all zeros.
struct LinkHeader {
  uint32_t protocol;  // network order, as __sk_buff has it
  uint32_t pkt_type;  // PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST
};

LinkHeader read_link_header(const std::byte* header) {
  const auto byte_at = [&](size_t i) { return std::to_integer<uint32_t>(header[i]); };
  const bool group = (byte_at(0) & 1) != 0;
  const bool broadcast = std::all_of(header, header + 6, [](std::byte b) { return b == std::byte{0xff}; });
  const bool ours = std::all_of(header, header + 6, [](std::byte b) { return b == std::byte{0}; });
  const uint32_t type = broadcast ? 1 : group ? 2 : ours ? 0 : 3;
  uint32_t ethertype = byte_at(12) << 8 | byte_at(13);
  if (ethertype < kMinEthertype) {
    // IPX over 802.3 begins with 0xffff where 802.2 has its header.
    ethertype = byte_at(14) == 0xff && byte_at(15) == 0xff ? kEth8023 : kEth8022;
  }
  return {(ethertype & 0xff) << 8 | ethertype >> 8, type};
}

}  // namespace

PacketBuffer::PacketBuffer()
    : memory_(
          mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0)) {
  if (memory_ == MAP_FAILED) throw std::bad_alloc();
  begin_ = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(memory_)) + kPage;
}

PacketBuffer::~PacketBuffer() { munmap(memory_, 2 * kPage); }

uint32_t max_packet_size(const ProgramType& type) {
  const uint32_t headroom =
      type.context == ContextKind::kXdp ? PacketBuffer::kXdpHeadroom : PacketBuffer::kSkbHeadroom;
  return PacketBuffer::kPage - headroom - PacketBuffer::kSharedInfo;
}

PacketContext::PacketContext(Cpu& cpu, PacketBuffer& buffer, const ProgramType& type)
    : cpu_(&cpu), type_(&type), context_(buffer.context()), hard_start_(buffer.begin()) {}

Result<PacketContext> PacketContext::create(Cpu& cpu, PacketBuffer& buffer, const ProgramType& type,
                                            const PacketInput& input) {
  if (type.context != ContextKind::kXdp && type.context != ContextKind::kSkb)
    return fail(EINVAL, fmt::format("a program of type {} is not run on packets", type.name));
  if (input.data.size() < PacketBuffer::kLinkHeader)
    return fail(EINVAL, fmt::format("a packet of {} bytes is shorter than a link-layer header of {} bytes",
                                    input.data.size(), PacketBuffer::kLinkHeader));
  const uint32_t most = type.context == ContextKind::kXdp
                            ? PacketBuffer::kPage - input.headroom - PacketBuffer::kSharedInfo
                            : max_packet_size(type);
  if (input.data.size() > most)
    return fail(EINVAL, fmt::format("a packet of {} bytes is larger than the maximum of {} bytes",
                                    input.data.size(), most));
  PacketContext context(cpu, buffer, type);
  auto filled = type.context == ContextKind::kXdp ? context.fill_xdp(input) : context.fill_skb(input);
  if (!filled) return std::unexpected(filled.error());
  return context;
}

Result<void> PacketContext::fill_xdp(const PacketInput& input) {
  if (input.meta.size() % 4 != 0 || input.meta.size() > kMaxMetadata ||
      input.meta.size() > input.headroom - PacketBuffer::kXdpFrame)
    return fail(EINVAL, fmt::format("{} bytes of metadata: not a multiple of 4, or more than fits",
                                    input.meta.size()));
  data_ = hard_start_ + input.headroom;
  meta_ = data_ - static_cast<uint32_t>(input.meta.size());
  end_ = data_ + static_cast<uint32_t>(input.data.size());
  clear_headroom();
  copy(input.meta, meta_);
  copy(input.data, data_);
  auto* xdp = new (context_) xdp_md{};
  xdp->ingress_ifindex = input.ingress_ifindex;
  xdp->rx_queue_index = input.rx_queue_index;
  xdp->egress_ifindex = input.egress_ifindex;
  publish();
  return {};
}

Result<void> PacketContext::fill_skb(const PacketInput& input) {
  const auto size = static_cast<uint32_t>(input.data.size());
  link_header_ = hard_start_ + PacketBuffer::kSkbHeadroom;
  data_ = link_header_ + (type_->link_layer ? 0 : PacketBuffer::kLinkHeader);
  meta_ = data_;
  end_ = link_header_ + size;
  clear_headroom();
  copy(input.data, link_header_);
  const uint32_t length = end_ - data_;

  auto* skb = new (context_) __sk_buff{};
  const LinkHeader link = read_link_header(pointer<std::byte>(link_header_));
  skb->protocol = link.protocol;
  skb->pkt_type = link.pkt_type;
  skb->ifindex = 1;
  skb->wire_len = length;
  if (const __sk_buff* from = input.skb) {
    if (from->wire_len != 0 && (from->wire_len < length || from->wire_len > kMaxWireLength))
      return fail(EINVAL, fmt::format("wire_len {} of a packet of {} bytes", from->wire_len, length));
    if (from->gso_segs > kMaxSegments) return fail(EINVAL, fmt::format("gso_segs {}", from->gso_segs));
    skb->mark = from->mark;
    skb->priority = from->priority;
    skb->ingress_ifindex = from->ingress_ifindex;
    if (from->ifindex != 0) skb->ifindex = from->ifindex;
    std::ranges::copy(from->cb, skb->cb);
    skb->tstamp = from->tstamp;
    skb->hwtstamp = from->hwtstamp;
    if (from->wire_len != 0) skb->wire_len = from->wire_len;
    skb->gso_segs = from->gso_segs;
    skb->gso_size = from->gso_size;
  }
  fill_socket(link.protocol);
  skb->sk = reinterpret_cast<bpf_sock*>(socket_.begin);
  publish();
  return {};
}

// The socket that the kernel's test run gives to an skb: one that has never been used, but for the addresses.
// A packet that ends inside its IP header has none.
void PacketContext::fill_socket(uint32_t protocol) {
  constexpr uint32_t kIpv4 = 0x0008;  // ETH_P_IP and ETH_P_IPV6 in network order
  constexpr uint32_t kIpv6 = 0xdd86;
  constexpr uint32_t kClose = 7;  // TCP_CLOSE
  auto* socket = new (static_cast<std::byte*>(context_) + kSocketOffset) bpf_sock{};
  socket->state = kClose;
  socket->rx_queue_mapping = -1;
  const uint32_t header = link_header_ + PacketBuffer::kLinkHeader;
  const uint32_t length = end_ - header;
  if (protocol == kIpv4 && length >= sizeof(iphdr)) {
    socket->family = AF_INET;
    std::memcpy(&socket->src_ip4, pointer<std::byte>(header) + offsetof(iphdr, saddr), 4);
    std::memcpy(&socket->dst_ip4, pointer<std::byte>(header) + offsetof(iphdr, daddr), 4);
  } else if (protocol == kIpv6 && length >= sizeof(ip6_hdr)) {
    socket->family = AF_INET6;
    std::memcpy(socket->src_ip6, pointer<std::byte>(header) + offsetof(ip6_hdr, ip6_src), 16);
    std::memcpy(socket->dst_ip6, pointer<std::byte>(header) + offsetof(ip6_hdr, ip6_dst), 16);
  }
  socket_ = {reinterpret_cast<uintptr_t>(socket), sizeof *socket};
}

PacketSocket::~PacketSocket() {
  if (object_) owner_->end(std::move(object_));
}

maps::HostObject& PacketSocket::object(HostObjectTable& owner) {
  if (!object_) {
    owner_ = &owner;
    object_ = std::make_shared<maps::HostObject>(maps::HostKind::kSocket, owner.next_cookie());
  }
  return *object_;
}

maps::HostObject& PacketContext::socket_object() {
  return socket_object_.object(cpu_->machine().host_objects());
}

// What a former run left before the packet could be seen in this one. What is behind it is cleared when the
// packet grows.
void PacketContext::clear_headroom() { std::memset(pointer<std::byte>(hard_start_), 0, data_ - hard_start_); }

void PacketContext::publish() {
  if (type_->context == ContextKind::kXdp) {
    auto* xdp = static_cast<xdp_md*>(context_);
    xdp->data = data_;
    xdp->data_end = end_;
    xdp->data_meta = meta_;
  } else {
    auto* skb = static_cast<__sk_buff*>(context_);
    skb->data = data_;
    skb->data_end = end_;
    skb->data_meta = meta_;
    skb->len = end_ - data_;
  }
  if (cpu_->packet_context == this) cpu_->run().packet = {meta_, end_ - meta_};
}

void PacketContext::attach(Cpu& cpu) {
  cpu.packet_context = this;
  cpu.run().context = {reinterpret_cast<uintptr_t>(context_), type_->context_size};
  cpu.run().packet = {meta_, end_ - meta_};
}

std::span<std::byte> PacketContext::data() const { return {pointer<std::byte>(data_), end_ - data_}; }
std::span<std::byte> PacketContext::meta() const { return {pointer<std::byte>(meta_), data_ - meta_}; }

std::vector<std::byte> PacketContext::output() const {
  const bool lost_header = type_->context == ContextKind::kSkb && !type_->link_layer;
  std::vector<std::byte> out(lost_header ? PacketBuffer::kLinkHeader : 0);
  const auto bytes = data();
  out.insert(out.end(), bytes.begin(), bytes.end());
  return out;
}

long PacketContext::adjust_head(int32_t delta) {
  const int64_t metadata = data_ - meta_;
  const int64_t first = int64_t{hard_start_} + PacketBuffer::kXdpFrame + metadata;
  const int64_t data = int64_t{data_} + delta;
  if (data < first || data > int64_t{end_} - PacketBuffer::kLinkHeader) return -EINVAL;
  const auto meta = static_cast<uint32_t>(int64_t{meta_} + delta);
  std::memmove(pointer<std::byte>(meta), pointer<std::byte>(meta_), static_cast<size_t>(metadata));
  meta_ = meta;
  data_ = static_cast<uint32_t>(data);
  publish();
  return 0;
}

long PacketContext::adjust_tail(int32_t delta) {
  const int64_t hard_end = int64_t{hard_start_} + PacketBuffer::kPage - PacketBuffer::kSharedInfo;
  const int64_t end = int64_t{end_} + delta;
  if (end > hard_end || end < int64_t{data_} + PacketBuffer::kLinkHeader) return -EINVAL;
  if (delta > 0) std::memset(pointer<std::byte>(end_), 0, static_cast<size_t>(delta));
  end_ = static_cast<uint32_t>(end);
  publish();
  return 0;
}

long PacketContext::adjust_meta(int32_t delta) {
  const int64_t meta = int64_t{meta_} + delta;
  if (meta < int64_t{hard_start_} + PacketBuffer::kXdpFrame || meta > data_) return -EINVAL;
  const int64_t size = data_ - meta;
  if (size % 4 != 0 || size > kMaxMetadata) return -EACCES;
  meta_ = static_cast<uint32_t>(meta);
  publish();
  return 0;
}

const std::byte* PacketContext::at(uint64_t offset, uint64_t size) const {
  const uint64_t length = end_ - data_;
  if (size > length || offset > length - size) return nullptr;
  return pointer<std::byte>(data_) + offset;
}

const std::byte* PacketContext::filter_load(int32_t offset, uint32_t size) const {
  if (offset >= 0) return at(static_cast<uint64_t>(offset), size);
  // bpf_internal_load_pointer_neg_helper
  int64_t from = 0;
  if (offset >= kNetworkOffset)
    from = int64_t{link_header_} + PacketBuffer::kLinkHeader + (offset - kNetworkOffset);
  else if (offset >= kLinkOffset)
    from = int64_t{link_header_} + (offset - kLinkOffset);
  else
    return nullptr;
  if (from + size > end_) return nullptr;
  return pointer<std::byte>(static_cast<uint32_t>(from));
}

}  // namespace skep::vm
