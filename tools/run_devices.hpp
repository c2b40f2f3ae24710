#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "skep/machine.hpp"
#include "tools/packet_file.hpp"

namespace skep::tools {

// The devices of `skep run`: --dev IFINDEX=FILE each, and a capture file for what it sends.
class RunDevices {
 public:
  // `taken`: files that the command reads or writes otherwise. EINVAL: no IFINDEX=FILE, a device or a file
  // given twice.
  static Result<RunDevices> parse(const std::vector<std::string>& arguments,
                                  const std::vector<std::string>& taken);

  bool empty() const { return files_.empty(); }
  bool has(uint32_t ifindex) const { return files_.contains(ifindex); }
  Result<void> add_to(const Machine& machine) const;
  // Replaces the files. Errors name the file.
  Result<void> open_files();
  // Writes what devices sent; what others did is not kept.
  Result<void> write(const Forwarding& forwarding, std::chrono::nanoseconds timestamp);
  Result<void> close();

 private:
  std::map<uint32_t, std::string> files_;
  std::map<uint32_t, PacketWriter> writers_;
};

// How often packets went where.
struct ForwardTally {
  std::map<uint32_t, uint64_t> redirects;          // sent by a device after a redirect, by ifindex
  std::map<uint32_t, uint64_t> transmits;          // sent back by XDP_TX
  std::map<uint32_t, uint64_t> ingress_redirects;  // redirected to a device's ingress
  std::map<uint32_t, uint64_t> cpu_redirects;      // handed to a CPU's network stack
  std::map<std::string, uint64_t> errors;          // by the name of their number
  std::map<std::string, std::string> messages;     // of each of them, the first
  uint64_t dropped = 0;

  void add(const Forwarding& forwarding);
  void add(const ForwardTally& other);
};

}  // namespace skep::tools
