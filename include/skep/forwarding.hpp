#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// What became of a packet after its program returned XDP_TX, XDP_REDIRECT or TC_ACT_REDIRECT. Semantics: the
// kernel's xdp_do_redirect and skb_do_redirect (net/core/filter.c), kernel/bpf/devmap.c, kernel/bpf/cpumap.c.
// Each packet is carried to its end before the run returns.
namespace skep {

// A packet that went on. A broadcast makes one for each device.
struct Forwarded {
  enum class To : uint8_t {
    kDevice,         // sent by a device
    kDeviceIngress,  // taken for one that the device received: BPF_F_INGRESS of a classifier
    kCpu,            // handed to the network stack on a CPU, by a CPUMAP
  };
  To to = To::kDevice;
  uint32_t index = 0;           // the ifindex, or the CPU
  bool redirected = true;       // false: XDP_TX
  std::vector<std::byte> data;  // from its link-layer header on, if RunInput::want_output
};

// Why a packet did not go where it was to go; it is dropped.
struct ForwardError {
  // What the kernel's tracepoint xdp_redirect_err reports. EINVAL: there is no such device; EOPNOTSUPP: it
  // does not take redirected packets (the loopback device); ENETDOWN; EMSGSIZE: larger than its MTU; EBADRQC:
  // no helper said where to. Of skep alone: EBUSY: a Runner holds the CPU; ELOOP: from CPU to CPU more than
  // 32 times; ENODEV: XDP_TX from a device that the machine does not have.
  int code = 0;
  std::string message;
};

struct Forwarding {
  std::vector<Forwarded> packets;
  std::vector<ForwardError> errors;
  uint32_t dropped = 0;  // by programs of map elements, or by a broadcast that found no device
  uint32_t faults = 0;   // programs of map elements that faulted; their packets are gone
};

}  // namespace skep
