#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "maps/map.hpp"
#include "skep/error.hpp"

namespace skep::vm {

inline constexpr uint32_t kLoopbackIndex = 1;

// What a network device is made with.
struct DeviceSpec {
  uint32_t ifindex = 0;
  std::string name;     // empty: "dev" and the ifindex
  uint32_t mtu = 1500;  // without the link-layer header
  bool up = true;
  // Whether XDP may redirect packets to it (NETDEV_XDP_ACT_NDO_XMIT); the loopback device lacks that.
  bool takes_redirects = true;
  // Another device of the same ifindex may take its place: the one a machine has from the beginning.
  bool replaceable = false;
  // Called for each packet that leaves by the device, by the thread that sends it.
  std::function<void(std::span<const std::byte>)> on_sent;
};

// A device. Its state may change while programs run.
class Device {
 public:
  explicit Device(DeviceSpec spec) : spec_(std::move(spec)), up_(spec_.up) {}

  uint32_t ifindex() const { return spec_.ifindex; }
  const std::string& name() const { return spec_.name; }
  // Relaxed: a packet that is sent meanwhile may see either.
  bool up() const { return up_.load(std::memory_order_relaxed); }
  void set_up(bool up) { up_.store(up, std::memory_order_relaxed); }

  // Whether a packet may be redirected to it: 0, EOPNOTSUPP, ENETDOWN or EMSGSIZE (__xdp_enqueue,
  // xdp_ok_fwd_dev).
  int refuses(size_t packet_size) const;
  void send(std::span<const std::byte> packet) const {
    if (spec_.on_sent) spec_.on_sent(packet);
  }

 private:
  friend class DeviceTable;
  DeviceSpec spec_;
  std::atomic<bool> up_;
  Device* next_ = nullptr;  // in its chain; set before the device can be found
};

// A machine's devices by ifindex. The loopback device is there from the beginning; others are added, and none
// is removed. Thread-safe; lookups are wait-free.
class DeviceTable final : public maps::DeviceDirectory {
 public:
  DeviceTable();
  DeviceTable(const DeviceTable&) = delete;
  DeviceTable& operator=(const DeviceTable&) = delete;
  ~DeviceTable();

  // EINVAL: an ifindex of 0 or above INT_MAX. EEXIST. ENOMEM.
  Result<void> add(DeviceSpec spec);
  // nullptr: none.
  Device* find(uint32_t ifindex) const;
  bool has_device(uint32_t ifindex) const override { return find(ifindex) != nullptr; }

 private:
  static constexpr size_t kChains = 64;
  std::array<std::atomic<Device*>, kChains> chains_{};
};

}  // namespace skep::vm
