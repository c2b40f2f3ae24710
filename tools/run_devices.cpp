#include "tools/run_devices.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>

namespace skep::tools {
namespace {

std::optional<uint32_t> parse_ifindex(std::string_view text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0 || number > INT_MAX)
    return std::nullopt;
  return number;
}

// One name for a file, however it is spelled.
std::string whole_path(const std::string& file) {
  std::error_code ignored;
  const auto path = std::filesystem::weakly_canonical(std::filesystem::absolute(file, ignored), ignored);
  return path.empty() ? file : path.string();
}

std::string name_of(int code) {
  const char* name = strerrorname_np(code);
  return name != nullptr ? name : std::to_string(code);
}

}  // namespace

Result<RunDevices> RunDevices::parse(const std::vector<std::string>& arguments,
                                     const std::vector<std::string>& taken) {
  RunDevices devices;
  std::set<std::string> paths;
  for (const std::string& file : taken)
    if (!file.empty()) paths.insert(whole_path(file));
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    const auto ifindex =
        parse_ifindex(std::string_view(argument).substr(0, equals == std::string::npos ? 0 : equals));
    if (!ifindex || equals + 1 == argument.size())
      return fail(EINVAL, fmt::format("--dev {}: not IFINDEX=FILE, as in --dev 2=out.pcap", argument));
    const std::string file = argument.substr(equals + 1);
    if (!devices.files_.emplace(*ifindex, file).second)
      return fail(EINVAL, fmt::format("--dev {}: device {} is given twice", argument, *ifindex));
    if (!paths.insert(whole_path(file)).second)
      return fail(EINVAL, fmt::format("--dev {}: {} is in use for something else", argument, file));
  }
  return devices;
}

Result<void> RunDevices::add_to(const Machine& machine) const {
  for (const auto& [ifindex, file] : files_)
    if (auto added =
            machine.add_device({.ifindex = ifindex, .name = {}, .mtu = 1500, .up = true, .on_sent = {}});
        !added)
      return fail(added.error().code, fmt::format("--dev {}={}: {}", ifindex, file, added.error().message));
  return {};
}

Result<void> RunDevices::open_files() {
  for (const auto& [ifindex, file] : files_) {
    auto writer = PacketWriter::open(file);
    if (!writer)
      return fail(writer.error().code, fmt::format("--dev {}={}: {}", ifindex, file, writer.error().message));
    writers_.emplace(ifindex, std::move(*writer));
  }
  return {};
}

Result<void> RunDevices::write(const Forwarding& forwarding, std::chrono::nanoseconds timestamp) {
  for (const Forwarded& packet : forwarding.packets) {
    if (packet.to != Forwarded::To::kDevice) continue;
    const auto writer = writers_.find(packet.index);
    if (writer == writers_.end()) continue;
    const auto* bytes = reinterpret_cast<const uint8_t*>(packet.data.data());
    const auto length = static_cast<uint32_t>(packet.data.size());
    if (auto written = writer->second.write({bytes, length}, length, timestamp); !written) return written;
  }
  return {};
}

Result<void> RunDevices::close() {
  for (auto& [ifindex, writer] : writers_)
    if (auto closed = writer.close(); !closed) return closed;
  return {};
}

void ForwardTally::add(const Forwarding& forwarding) {
  for (const Forwarded& packet : forwarding.packets) {
    switch (packet.to) {
      case Forwarded::To::kDevice:
        ++(packet.redirected ? redirects : transmits)[packet.index];
        break;
      case Forwarded::To::kDeviceIngress:
        ++ingress_redirects[packet.index];
        break;
      case Forwarded::To::kCpu:
        ++cpu_redirects[packet.index];
        break;
    }
  }
  for (const ForwardError& error : forwarding.errors) {
    const std::string name = name_of(error.code);
    ++errors[name];
    messages.try_emplace(name, error.message);
  }
  dropped += forwarding.dropped;
}

void ForwardTally::add(const ForwardTally& other) {
  const auto merge = [](auto& to, const auto& from) {
    for (const auto& [key, count] : from) to[key] += count;
  };
  merge(redirects, other.redirects);
  merge(transmits, other.transmits);
  merge(ingress_redirects, other.ingress_redirects);
  merge(cpu_redirects, other.cpu_redirects);
  merge(errors, other.errors);
  messages.insert(other.messages.begin(), other.messages.end());
  dropped += other.dropped;
}

}  // namespace skep::tools
