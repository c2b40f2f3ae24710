#include "tools/run_input.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace skep::tools {
namespace {

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::vector<uint8_t>> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(errno, fmt::format("{}: {}", path, std::strerror(errno)));
  std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) return fail(EIO, fmt::format("{}: cannot be read", path));
  return bytes;
}

Packet whole(std::vector<uint8_t> bytes) {
  Packet packet;
  packet.original_length = static_cast<uint32_t>(bytes.size());
  packet.bytes = std::move(bytes);
  return packet;
}

}  // namespace

Result<std::vector<uint8_t>> parse_hex(const std::string& text) {
  std::vector<uint8_t> out;
  int high = -1;
  for (const char c : text) {
    if ((c == ' ' || c == ':' || c == '\n' || c == '\t' || c == '\r') && high < 0) continue;
    const int value = digit(c);
    if (value < 0) return fail(EINVAL, fmt::format("'{}' is not a hexadecimal digit", c));
    if (high < 0) {
      high = value;
    } else {
      out.push_back(static_cast<uint8_t>(high << 4 | value));
      high = -1;
    }
  }
  if (high >= 0) return fail(EINVAL, "an odd number of hexadecimal digits");
  return out;
}

Result<InputReader> InputReader::open(const InputArguments& arguments, size_t max_size) {
  InputReader reader;
  if (!arguments.pcap.empty()) {
    auto file = PacketReader::open(arguments.pcap, max_size);
    if (!file) return std::unexpected(file.error());
    reader.file_ = std::move(*file);
    return reader;
  }
  auto bytes = arguments.data ? parse_hex(*arguments.data) : Result<std::vector<uint8_t>>();
  if (!arguments.data_in.empty()) bytes = read_file(arguments.data_in);
  if (!bytes)
    return fail(bytes.error().code,
                arguments.data ? "--data: " + bytes.error().message : bytes.error().message);
  if (bytes->size() > max_size)
    return fail(EMSGSIZE,
                fmt::format("{}: {} bytes are larger than the maximum of {} bytes",
                            arguments.data ? "--data" : arguments.data_in, bytes->size(), max_size));
  reader.single_ = whole(std::move(*bytes));
  return reader;
}

Result<std::vector<Packet>> InputReader::next_batch(size_t most) {
  std::vector<Packet> out;
  if (single_) {
    out.push_back(std::move(*single_));
    single_.reset();
    return out;
  }
  while (file_ && out.size() < most) {
    auto packet = file_->next();
    if (!packet) return std::unexpected(packet.error());
    if (!*packet) break;
    out.push_back(std::move(**packet));
  }
  return out;
}

}  // namespace skep::tools
