#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "skep/error.hpp"
#include "tools/packet_file.hpp"

namespace skep::tools {

// Where `skep run` gets its packets or memory from: at most one of the three.
struct InputArguments {
  std::string pcap;
  std::string data_in;
  std::optional<std::string> data;  // hex
};

// The inputs of a run, in batches, so that files larger than memory can be run.
class InputReader {
 public:
  static Result<InputReader> open(const InputArguments& arguments, size_t max_size);

  // Up to `most` inputs; empty at the end.
  Result<std::vector<Packet>> next_batch(size_t most);

 private:
  std::optional<PacketReader> file_;
  std::optional<Packet> single_;
};

// Bytes written as hexadecimal digits; spaces and colons between bytes are allowed.
Result<std::vector<uint8_t>> parse_hex(const std::string& text);

}  // namespace skep::tools
