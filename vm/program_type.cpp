#include "vm/program_type.hpp"

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <array>
#include <cstddef>

namespace skep::vm {
namespace {

#define SKEP_FIELD(context, field, narrow, writable) \
  ContextField { offsetof(context, field), sizeof(context::field), narrow, writable }

// xdp_is_valid_access: 4 bytes, nothing to write.
constexpr std::array kDeviceMapFields{
    SKEP_FIELD(xdp_md, data, false, false),           SKEP_FIELD(xdp_md, data_end, false, false),
    SKEP_FIELD(xdp_md, data_meta, false, false),      SKEP_FIELD(xdp_md, ingress_ifindex, false, false),
    SKEP_FIELD(xdp_md, rx_queue_index, false, false), SKEP_FIELD(xdp_md, egress_ifindex, false, false),
};

constexpr std::array kXdpFields{kDeviceMapFields[0], kDeviceMapFields[1], kDeviceMapFields[2],
                                kDeviceMapFields[3], kDeviceMapFields[4]};

// tc_cls_act_is_valid_access over bpf_skb_is_valid_access.
constexpr std::array kSchedClsFields{
    SKEP_FIELD(__sk_buff, len, true, false),        SKEP_FIELD(__sk_buff, pkt_type, true, false),
    SKEP_FIELD(__sk_buff, mark, true, true),        SKEP_FIELD(__sk_buff, queue_mapping, true, true),
    SKEP_FIELD(__sk_buff, protocol, true, false),   SKEP_FIELD(__sk_buff, vlan_present, true, false),
    SKEP_FIELD(__sk_buff, vlan_tci, true, false),   SKEP_FIELD(__sk_buff, vlan_proto, true, false),
    SKEP_FIELD(__sk_buff, priority, true, true),    SKEP_FIELD(__sk_buff, ingress_ifindex, true, false),
    SKEP_FIELD(__sk_buff, ifindex, true, false),    SKEP_FIELD(__sk_buff, tc_index, true, true),
    SKEP_FIELD(__sk_buff, cb, true, true),          SKEP_FIELD(__sk_buff, hash, true, false),
    SKEP_FIELD(__sk_buff, tc_classid, true, true),  SKEP_FIELD(__sk_buff, data, false, false),
    SKEP_FIELD(__sk_buff, data_end, false, false),  SKEP_FIELD(__sk_buff, napi_id, true, false),
    SKEP_FIELD(__sk_buff, data_meta, false, false), SKEP_FIELD(__sk_buff, tstamp, false, true),
    SKEP_FIELD(__sk_buff, wire_len, true, false),   SKEP_FIELD(__sk_buff, gso_segs, true, false),
    SKEP_FIELD(__sk_buff, gso_size, true, false),   SKEP_FIELD(__sk_buff, tstamp_type, true, false),
    SKEP_FIELD(__sk_buff, hwtstamp, false, false),  SKEP_FIELD(__sk_buff, sk, false, false),
};

// sk_filter_is_valid_access: no packet pointers, and only cb to write.
constexpr std::array kSocketFilterFields{
    SKEP_FIELD(__sk_buff, len, true, false),      SKEP_FIELD(__sk_buff, pkt_type, true, false),
    SKEP_FIELD(__sk_buff, mark, true, false),     SKEP_FIELD(__sk_buff, queue_mapping, true, false),
    SKEP_FIELD(__sk_buff, protocol, true, false), SKEP_FIELD(__sk_buff, vlan_present, true, false),
    SKEP_FIELD(__sk_buff, vlan_tci, true, false), SKEP_FIELD(__sk_buff, vlan_proto, true, false),
    SKEP_FIELD(__sk_buff, priority, true, false), SKEP_FIELD(__sk_buff, ingress_ifindex, true, false),
    SKEP_FIELD(__sk_buff, ifindex, true, false),  SKEP_FIELD(__sk_buff, tc_index, true, false),
    SKEP_FIELD(__sk_buff, cb, true, true),        SKEP_FIELD(__sk_buff, hash, true, false),
    SKEP_FIELD(__sk_buff, napi_id, true, false),  SKEP_FIELD(__sk_buff, gso_segs, true, false),
    SKEP_FIELD(__sk_buff, gso_size, true, false), SKEP_FIELD(__sk_buff, sk, false, false),
};

// bpf_sock_is_valid_access. dst_port was 4 bytes once and may be read as such.
constexpr std::array kSocketFields{
    SKEP_FIELD(bpf_sock, bound_dev_if, false, false),
    SKEP_FIELD(bpf_sock, family, true, false),
    SKEP_FIELD(bpf_sock, type, true, false),
    SKEP_FIELD(bpf_sock, protocol, true, false),
    SKEP_FIELD(bpf_sock, mark, false, false),
    SKEP_FIELD(bpf_sock, priority, false, false),
    SKEP_FIELD(bpf_sock, src_ip4, true, false),
    SKEP_FIELD(bpf_sock, src_ip6[0], true, false),
    SKEP_FIELD(bpf_sock, src_ip6[1], true, false),
    SKEP_FIELD(bpf_sock, src_ip6[2], true, false),
    SKEP_FIELD(bpf_sock, src_ip6[3], true, false),
    SKEP_FIELD(bpf_sock, src_port, true, false),
    SKEP_FIELD(bpf_sock, dst_port, true, false),
    ContextField{offsetof(bpf_sock, dst_port), 4, false, false},
    SKEP_FIELD(bpf_sock, dst_ip4, true, false),
    SKEP_FIELD(bpf_sock, dst_ip6[0], true, false),
    SKEP_FIELD(bpf_sock, dst_ip6[1], true, false),
    SKEP_FIELD(bpf_sock, dst_ip6[2], true, false),
    SKEP_FIELD(bpf_sock, dst_ip6[3], true, false),
    SKEP_FIELD(bpf_sock, state, true, false),
    SKEP_FIELD(bpf_sock, rx_queue_mapping, true, false),
};
#undef SKEP_FIELD

// raw_tp_prog_is_valid_access: in any size.
constexpr std::array kArgumentFields{ContextField{0, kMaxArguments * sizeof(uint64_t), true, false}};

#define SKEP_VERDICT(name) \
  Verdict { name, #name }
constexpr std::array kXdpVerdicts{SKEP_VERDICT(XDP_ABORTED), SKEP_VERDICT(XDP_DROP), SKEP_VERDICT(XDP_PASS),
                                  SKEP_VERDICT(XDP_TX), SKEP_VERDICT(XDP_REDIRECT)};
constexpr std::array kTcVerdicts{SKEP_VERDICT(TC_ACT_UNSPEC),     SKEP_VERDICT(TC_ACT_OK),
                                 SKEP_VERDICT(TC_ACT_RECLASSIFY), SKEP_VERDICT(TC_ACT_SHOT),
                                 SKEP_VERDICT(TC_ACT_PIPE),       SKEP_VERDICT(TC_ACT_STOLEN),
                                 SKEP_VERDICT(TC_ACT_QUEUED),     SKEP_VERDICT(TC_ACT_REPEAT),
                                 SKEP_VERDICT(TC_ACT_REDIRECT),   SKEP_VERDICT(TC_ACT_TRAP)};
#undef SKEP_VERDICT

constexpr auto kTypes = std::to_array<ProgramType>({
    {.id = kProgTypeRaw, .name = "raw", .context = ContextKind::kRaw},
    {.id = BPF_PROG_TYPE_SOCKET_FILTER,
     .name = "socket_filter",
     .context = ContextKind::kSkb,
     .context_size = sizeof(__sk_buff),
     .fields = kSocketFilterFields},
    {.id = BPF_PROG_TYPE_SCHED_CLS,
     .name = "sched_cls",
     .context = ContextKind::kSkb,
     .context_size = sizeof(__sk_buff),
     .fields = kSchedClsFields,
     .verdicts = kTcVerdicts,
     .link_layer = true},
    {.id = BPF_PROG_TYPE_SCHED_ACT,
     .name = "sched_act",
     .context = ContextKind::kSkb,
     .context_size = sizeof(__sk_buff),
     .fields = kSchedClsFields,
     .verdicts = kTcVerdicts,
     .link_layer = true},
    {.id = BPF_PROG_TYPE_XDP,
     .name = "xdp",
     .context = ContextKind::kXdp,
     .context_size = sizeof(xdp_md),
     .fields = kXdpFields,
     .verdicts = kXdpVerdicts},
    {.id = BPF_PROG_TYPE_KPROBE, .name = "kprobe", .tracing = true},
    {.id = BPF_PROG_TYPE_TRACEPOINT, .name = "tracepoint", .tracing = true},
    {.id = BPF_PROG_TYPE_PERF_EVENT, .name = "perf_event", .tracing = true},
    {.id = BPF_PROG_TYPE_CGROUP_SKB, .name = "cgroup_skb"},
    {.id = BPF_PROG_TYPE_CGROUP_SOCK, .name = "cgroup_sock"},
    {.id = BPF_PROG_TYPE_LWT_IN, .name = "lwt_in"},
    {.id = BPF_PROG_TYPE_LWT_OUT, .name = "lwt_out"},
    {.id = BPF_PROG_TYPE_LWT_XMIT, .name = "lwt_xmit"},
    {.id = BPF_PROG_TYPE_SOCK_OPS, .name = "sock_ops"},
    {.id = BPF_PROG_TYPE_SK_SKB, .name = "sk_skb"},
    {.id = BPF_PROG_TYPE_CGROUP_DEVICE, .name = "cgroup_device"},
    {.id = BPF_PROG_TYPE_SK_MSG, .name = "sk_msg"},
    {.id = BPF_PROG_TYPE_RAW_TRACEPOINT,
     .name = "raw_tracepoint",
     .context = ContextKind::kArguments,
     .context_size = kMaxArguments * sizeof(uint64_t),
     .fields = kArgumentFields,
     .tracing = true},
    {.id = BPF_PROG_TYPE_CGROUP_SOCK_ADDR, .name = "cgroup_sock_addr"},
    {.id = BPF_PROG_TYPE_LWT_SEG6LOCAL, .name = "lwt_seg6local"},
    {.id = BPF_PROG_TYPE_SK_REUSEPORT, .name = "sk_reuseport"},
    {.id = BPF_PROG_TYPE_FLOW_DISSECTOR, .name = "flow_dissector"},
    {.id = BPF_PROG_TYPE_CGROUP_SYSCTL, .name = "cgroup_sysctl"},
    {.id = BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, .name = "raw_tracepoint_writable", .tracing = true},
    {.id = BPF_PROG_TYPE_CGROUP_SOCKOPT, .name = "cgroup_sockopt"},
    {.id = BPF_PROG_TYPE_SK_LOOKUP, .name = "sk_lookup"},
    {.id = BPF_PROG_TYPE_SYSCALL, .name = "syscall"},
});

constexpr ProgramType kDeviceMapProgram{.id = BPF_PROG_TYPE_XDP,
                                        .name = "xdp",
                                        .context = ContextKind::kXdp,
                                        .context_size = sizeof(xdp_md),
                                        .fields = kDeviceMapFields,
                                        .verdicts = kXdpVerdicts};

}  // namespace

std::span<const ProgramType> program_types() { return kTypes; }

const ProgramType* find_program_type(uint32_t id) {
  for (const ProgramType& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

const ProgramType* find_program_type(std::string_view name) {
  for (const ProgramType& type : kTypes)
    if (type.name == name) return &type;
  return nullptr;
}

const ProgramType& attached(const ProgramType& type, uint32_t attach_type) {
  return type.id == BPF_PROG_TYPE_XDP && attach_type == BPF_XDP_DEVMAP ? kDeviceMapProgram : type;
}

namespace {

bool access_allowed(std::span<const ContextField> fields, uint64_t offset, uint64_t size, bool write) {
  if (size == 0 || offset % size != 0) return false;
  for (const ContextField& field : fields) {
    if (offset < field.offset || offset + size > field.offset + field.size) continue;
    if (write && !field.writable) return false;
    if (field.size > sizeof(uint64_t)) return true;  // cb: an array of words, used in any size
    return size == field.size || (field.narrow && !write);
  }
  return false;
}

}  // namespace

bool context_access_allowed(const ProgramType& type, uint64_t offset, uint64_t size, bool write) {
  return access_allowed(type.fields, offset, size, write);
}

bool socket_access_allowed(uint64_t offset, uint64_t size, bool write) {
  return access_allowed(kSocketFields, offset, size, write);
}

bool helper_available(const ProgramType& type, const HelperRow& helper) {
  switch (helper.availability) {
    case Availability::kAll:
      return true;
    case Availability::kXdp:
      return type.context == ContextKind::kXdp;
    case Availability::kSkb:
      return type.context == ContextKind::kSkb;
    case Availability::kTc:
      return type.link_layer;
    case Availability::kXdpOrTc:
      return type.context == ContextKind::kXdp || type.link_layer;
    case Availability::kTracing:
      return type.tracing;
  }
  return false;
}

const char* verdict_name(const ProgramType& type, int64_t value) {
  for (const Verdict& verdict : type.verdicts)
    if (verdict.value == value) return verdict.name;
  return nullptr;
}

}  // namespace skep::vm
