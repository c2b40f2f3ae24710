#include "vm/device.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <climits>
#include <memory>
#include <new>

namespace skep::vm {
namespace {

constexpr size_t kLinkHeader = 14;  // ETH_HLEN
constexpr size_t kVlanHeader = 4;   // VLAN_HLEN

}  // namespace

int Device::refuses(size_t packet_size) const {
  if (!spec_.takes_redirects) return EOPNOTSUPP;
  if (!up()) return ENETDOWN;
  return packet_size > size_t{spec_.mtu} + kLinkHeader + kVlanHeader ? EMSGSIZE : 0;
}

DeviceTable::DeviceTable() {
  add({.ifindex = kLoopbackIndex,
       .name = "lo",
       .mtu = 65536,
       .up = true,
       .takes_redirects = false,
       .replaceable = true,
       .on_sent = {}});
}

DeviceTable::~DeviceTable() {
  for (const std::atomic<Device*>& chain : chains_) {
    // Relaxed: nobody uses the table any more.
    for (Device* device = chain.load(std::memory_order_relaxed); device != nullptr;) {
      const std::unique_ptr<Device> gone(device);
      device = device->next_;
    }
  }
}

Result<void> DeviceTable::add(DeviceSpec spec) {
  if (spec.ifindex == 0 || spec.ifindex > INT_MAX)
    return fail(EINVAL, fmt::format("an interface index is 1 to {}, not {}", INT_MAX, spec.ifindex));
  if (spec.name.empty()) spec.name = fmt::format("dev{}", spec.ifindex);
  const uint32_t ifindex = spec.ifindex;
  std::unique_ptr<Device> device(new (std::nothrow) Device(std::move(spec)));
  if (device == nullptr) return fail(ENOMEM, "there is no memory for the device");
  std::atomic<Device*>& chain = chains_[ifindex % kChains];
  // Acquire: pairs with the exchange below, so that the chain is seen complete.
  Device* first = chain.load(std::memory_order_acquire);
  do {
    for (const Device* other = first; other != nullptr; other = other->next_)
      if (other->ifindex() == ifindex && !other->spec_.replaceable)
        return fail(EEXIST, fmt::format("there is a device {} already: {}", ifindex, other->name()));
    device->next_ = first;
    // Release: pairs with the loads of add() and find(), which then see the device complete.
  } while (!chain.compare_exchange_weak(first, device.get(), std::memory_order_release,
                                        std::memory_order_acquire));
  device.release();
  return {};
}

Device* DeviceTable::find(uint32_t ifindex) const {
  // Acquire: pairs with add()'s release. The newest comes first.
  Device* device = chains_[ifindex % kChains].load(std::memory_order_acquire);
  while (device != nullptr && device->ifindex() != ifindex) device = device->next_;
  return device;
}

}  // namespace skep::vm
