#include "tools/packet_file.hpp"

#include <fmt/format.h>
#include <pcap/pcap.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace skep::tools {
namespace {

// The largest packet libpcap itself accepts in an Ethernet capture.
constexpr int kSnapshotLength = 262144;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

struct CloseCapture {
  void operator()(pcap_t* capture) const { pcap_close(capture); }
};
using Capture = std::unique_ptr<pcap_t, CloseCapture>;

std::string link_type_name(int type) {
  const char* name = pcap_datalink_val_to_name(type);
  return name != nullptr ? name : fmt::format("number {}", type);
}

// Opened here and not by libpcap, whose messages do not carry the system's error number.
Result<File> open_file(const std::string& name, const char* mode) {
  File file(std::fopen(name.c_str(), mode));
  if (file == nullptr) {
    const int error = errno;
    return fail(error, fmt::format("cannot open {}: {}", name, std::strerror(error)));
  }
  return file;
}

// libpcap closes the file from here on.
void hand_over(File& file) { [[maybe_unused]] const std::FILE* pcaps = file.release(); }

std::chrono::nanoseconds timestamp_of(const pcap_pkthdr& header) {
  // Both files are opened with nanosecond precision: tv_usec then holds nanoseconds.
  return std::chrono::seconds(header.ts.tv_sec) + std::chrono::nanoseconds(header.ts.tv_usec);
}

}  // namespace

void PacketReader::Close::operator()(pcap* capture) const { pcap_close(capture); }
void PacketWriter::Close::operator()(pcap_dumper* dumper) const { pcap_dump_close(dumper); }

Result<PacketReader> PacketReader::open(const std::filesystem::path& path, size_t max_size) {
  std::string name = path.string();
  Result<File> file = open_file(name, "rb");
  if (!file) return std::unexpected(file.error());

  std::array<char, PCAP_ERRBUF_SIZE> message{};
  pcap_t* capture =
      pcap_fopen_offline_with_tstamp_precision(file->get(), PCAP_TSTAMP_PRECISION_NANO, message.data());
  if (capture == nullptr) {
    return fail(EINVAL, fmt::format("cannot read {} as a packet capture: {}", name, message.data()));
  }
  hand_over(*file);
  PacketReader reader(std::move(name), max_size, capture);
  const int link_type = pcap_datalink(capture);
  if (link_type != DLT_EN10MB) {
    return fail(EPROTONOSUPPORT,
                fmt::format("{} holds packets of link type {}, where Ethernet ({}) is needed", reader.name_,
                            link_type_name(link_type), link_type_name(DLT_EN10MB)));
  }
  return reader;
}

Result<std::optional<Packet>> PacketReader::next() {
  if (capture_ == nullptr) return std::nullopt;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  const int status = pcap_next_ex(capture_.get(), &header, &bytes);
  if (status == PCAP_ERROR_BREAK) {
    capture_.reset();
    return std::nullopt;
  }
  ++packets_;
  if (status != 1) {
    std::string message =
        fmt::format("cannot read packet {} of {}: {}", packets_, name_, pcap_geterr(capture_.get()));
    capture_.reset();
    return fail(EINVAL, std::move(message));
  }
  if (header->caplen > max_size_) {
    std::string message = fmt::format("packet {} of {} has {} bytes; at most {} are allowed", packets_, name_,
                                      header->caplen, max_size_);
    capture_.reset();
    return fail(EMSGSIZE, std::move(message));
  }
  return Packet{.bytes = {bytes, bytes + header->caplen},
                .original_length = header->len,
                .timestamp = timestamp_of(*header)};
}

Result<PacketWriter> PacketWriter::open(const std::filesystem::path& path) {
  std::string name = path.string();
  Result<File> file = open_file(name, "wb");
  if (!file) return std::unexpected(file.error());

  const Capture format(
      pcap_open_dead_with_tstamp_precision(DLT_EN10MB, kSnapshotLength, PCAP_TSTAMP_PRECISION_NANO));
  if (format == nullptr) return fail(ENOMEM, fmt::format("cannot write {}: out of memory", name));
  pcap_dumper_t* dumper = pcap_dump_fopen(format.get(), file->get());
  if (dumper == nullptr) {
    hand_over(*file);  // libpcap closes the file when it cannot write the header
    return fail(EIO, fmt::format("cannot write {}: {}", name, pcap_geterr(format.get())));
  }
  hand_over(*file);
  return PacketWriter(std::move(name), dumper);
}

Result<void> PacketWriter::write(std::span<const uint8_t> bytes, uint32_t original_length,
                                 std::chrono::nanoseconds timestamp) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(timestamp);
  pcap_pkthdr header{};
  header.ts.tv_sec = seconds.count();
  header.ts.tv_usec = (timestamp - seconds).count();
  header.caplen = static_cast<bpf_u_int32>(bytes.size());
  header.len = original_length;
  pcap_dump(reinterpret_cast<u_char*>(dumper_.get()), &header, bytes.data());
  if (std::ferror(pcap_dump_file(dumper_.get())) != 0) {
    return fail(EIO, fmt::format("cannot write {}: {}", name_, std::strerror(EIO)));
  }
  return {};
}

Result<void> PacketWriter::close() {
  errno = 0;
  const bool failed = pcap_dump_flush(dumper_.get()) != 0 || std::ferror(pcap_dump_file(dumper_.get())) != 0;
  const int error = errno != 0 ? errno : EIO;
  dumper_.reset();
  if (failed) return fail(error, fmt::format("cannot write {}: {}", name_, std::strerror(error)));
  return {};
}

}  // namespace skep::tools
