#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "skep/error.hpp"

struct pcap;
struct pcap_dumper;

namespace skep::tools {

// One captured frame, from its Ethernet header on.
struct Packet {
  std::vector<uint8_t> bytes;
  uint32_t original_length = 0;           // on the wire; larger than bytes.size() if the capture was cut
  std::chrono::nanoseconds timestamp{0};  // since the Unix epoch
};

// Reads a pcap or pcapng file of Ethernet frames, one packet at a time.
//
// Errors name the file. Their codes: what the system said if the file cannot be opened; EINVAL if it is not a
// capture file or ends in the middle of one; EPROTONOSUPPORT if its frames are not Ethernet; EMSGSIZE if a
// packet is larger than `max_size`. After an error the reader is at its end.
class PacketReader {
 public:
  static constexpr size_t kNoLimit = SIZE_MAX;

  static Result<PacketReader> open(const std::filesystem::path& path, size_t max_size = kNoLimit);

  // The next packet, or nothing at the end of the file.
  Result<std::optional<Packet>> next();

 private:
  struct Close {
    void operator()(pcap* capture) const;
  };

  PacketReader(std::string name, size_t max_size, pcap* capture)
      : name_(std::move(name)), max_size_(max_size), capture_(capture) {}

  std::string name_;
  size_t max_size_;
  uint64_t packets_ = 0;
  std::unique_ptr<pcap, Close> capture_;
};

// Writes a pcap file of Ethernet frames with timestamps in nanoseconds. An existing file is replaced.
//
// Errors name the file; their code is the system's. A writer that is destroyed without close() may leave a
// file that lacks its last packets.
class PacketWriter {
 public:
  static Result<PacketWriter> open(const std::filesystem::path& path);

  // Appends a packet. `original_length` is not less than bytes.size().
  Result<void> write(std::span<const uint8_t> bytes, uint32_t original_length,
                     std::chrono::nanoseconds timestamp);
  Result<void> write(const Packet& packet) {
    return write(packet.bytes, packet.original_length, packet.timestamp);
  }

  // Writes out what is buffered and closes the file; the writer cannot be used afterwards.
  Result<void> close();

 private:
  struct Close {
    void operator()(pcap_dumper* dumper) const;
  };

  PacketWriter(std::string name, pcap_dumper* dumper) : name_(std::move(name)), dumper_(dumper) {}

  std::string name_;
  std::unique_ptr<pcap_dumper, Close> dumper_;
};

}  // namespace skep::tools
