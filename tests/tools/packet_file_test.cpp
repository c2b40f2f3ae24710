#include "tools/packet_file.hpp"

#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace skep::tools {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

class PacketFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "skep-packets-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path path(const char* name) const { return directory_ / name; }

  std::filesystem::path write_bytes(const char* name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

  // A capture of one packet of each size, filled with its number.
  std::filesystem::path write_packets(const char* name, const std::vector<size_t>& sizes) const {
    Result<PacketWriter> writer = PacketWriter::open(path(name));
    EXPECT_TRUE(writer);
    for (size_t i = 0; i < sizes.size(); ++i) {
      const std::vector<uint8_t> bytes(sizes[i], static_cast<uint8_t>(i));
      EXPECT_TRUE(writer->write(bytes, static_cast<uint32_t>(sizes[i]), seconds(i)));
    }
    EXPECT_TRUE(writer->close());
    return path(name);
  }

 private:
  std::filesystem::path directory_;
};

std::string error_of(const std::filesystem::path& path, int code) {
  const Result<PacketReader> reader = PacketReader::open(path);
  EXPECT_FALSE(reader);
  if (reader) return "";
  EXPECT_EQ(reader.error().code, code);
  return reader.error().message;
}

// The next packet; there must be one.
Packet read(PacketReader& reader) {
  std::optional<Packet> packet = reader.next().value();
  if (packet) return std::move(*packet);
  ADD_FAILURE() << "no more packets";
  return {};
}

// Reads until something other than a packet comes.
Result<std::optional<Packet>> last_of(PacketReader& reader) {
  while (true) {
    Result<std::optional<Packet>> packet = reader.next();
    if (!packet || !*packet) return packet;
  }
}

// Little-endian, as most captures are.
std::string le32(uint32_t value) {
  std::string text;
  for (int shift = 0; shift < 32; shift += 8) text += static_cast<char>(value >> shift & 0xff);
  return text;
}

std::string be32(uint32_t value) {
  const std::string text = le32(value);
  return {text.rbegin(), text.rend()};
}

// The header of a pcap file, version 2.4, as draft-ietf-opsawg-pcap lays it out.
std::string pcap_header(uint32_t link_type) {
  return le32(0xa1b2c3d4) + le32(0x00040002) + le32(0) + le32(0) + le32(65535) + le32(link_type);
}

TEST_F(PacketFileTest, WhatIsWrittenIsRead) {
  const Packet cut{
      .bytes = {1, 2, 3}, .original_length = 99, .timestamp = seconds(5) + nanoseconds(123456789)};
  const Packet whole{.bytes = {4, 5}, .original_length = 2, .timestamp = seconds(1704067200)};
  Result<PacketWriter> writer = PacketWriter::open(path("a.pcap"));
  ASSERT_TRUE(writer) << writer.error().message;
  ASSERT_TRUE(writer->write(cut));
  ASSERT_TRUE(writer->write(whole));
  ASSERT_TRUE(writer->close());

  Result<PacketReader> reader = PacketReader::open(path("a.pcap"));
  ASSERT_TRUE(reader) << reader.error().message;
  for (const Packet& expected : {cut, whole}) {
    const Packet packet = read(*reader);
    EXPECT_EQ(packet.bytes, expected.bytes);
    EXPECT_EQ(packet.original_length, expected.original_length);
    EXPECT_EQ(packet.timestamp, expected.timestamp);
  }
  for (int i = 0; i < 2; ++i) {
    const Result<std::optional<Packet>> end = reader->next();
    ASSERT_TRUE(end);
    EXPECT_FALSE(*end);
  }
}

TEST_F(PacketFileTest, ReadsMicrosecondsOfEitherByteOrder) {
  const std::string little = pcap_header(1) + le32(7) + le32(250000) + le32(2) + le32(60) + "ab";
  const std::string big = be32(0xa1b2c3d4) + be32(0x00020004) + be32(0) + be32(0) + be32(65535) + be32(1) +
                          be32(7) + be32(250000) + be32(2) + be32(60) + "ab";
  for (const std::string& bytes : {little, big}) {
    Result<PacketReader> reader = PacketReader::open(write_bytes("a.pcap", bytes));
    ASSERT_TRUE(reader) << reader.error().message;
    const Packet packet = read(*reader);
    EXPECT_EQ(packet.bytes, (std::vector<uint8_t>{'a', 'b'}));
    EXPECT_EQ(packet.original_length, 60u);
    EXPECT_EQ(packet.timestamp, seconds(7) + std::chrono::milliseconds(250));
  }
}

TEST_F(PacketFileTest, ReadsPcapng) {
  // Section header, interface description (Ethernet), enhanced packet of two bytes: RFC
  // draft-ietf-opsawg-pcapng.
  const std::string section = le32(0x0a0d0d0a) + le32(28) + le32(0x1a2b3c4d) + le32(1) + le32(0xffffffff) +
                              le32(0xffffffff) + le32(28);
  const std::string interface = le32(1) + le32(20) + le32(1) + le32(65535) + le32(20);
  const std::string packet_block = le32(6) + le32(36) + le32(0) + le32(0) + le32(3000000) + le32(2) +
                                   le32(64) + std::string("ab\0\0", 4) + le32(36);
  Result<PacketReader> reader =
      PacketReader::open(write_bytes("a.pcapng", section + interface + packet_block));
  ASSERT_TRUE(reader) << reader.error().message;
  const Packet packet = read(*reader);
  EXPECT_EQ(packet.bytes, (std::vector<uint8_t>{'a', 'b'}));
  EXPECT_EQ(packet.original_length, 64u);
  EXPECT_EQ(packet.timestamp, seconds(3));
}

TEST_F(PacketFileTest, MissingFile) {
  const std::string message = error_of(path("none.pcap"), ENOENT);
  EXPECT_EQ(message, "cannot open " + path("none.pcap").string() + ": No such file or directory");
}

TEST_F(PacketFileTest, NotACapture) {
  const std::filesystem::path file = write_bytes("a.txt", "these are not packets, these are words");
  const std::string message = error_of(file, EINVAL);
  EXPECT_TRUE(message.starts_with("cannot read " + file.string() + " as a packet capture: ")) << message;
}

TEST_F(PacketFileTest, EmptyFileAndDirectoryAreNotCaptures) {
  error_of(write_bytes("empty", ""), EINVAL);
  error_of(path(""), EINVAL);
}

TEST_F(PacketFileTest, OtherLinkTypesAreNamed) {
  const std::filesystem::path file = write_bytes("a.pcap", pcap_header(101));
  EXPECT_EQ(error_of(file, EPROTONOSUPPORT),
            file.string() + " holds packets of link type RAW, where Ethernet (EN10MB) is needed");
  const std::filesystem::path wireless = write_bytes("b.pcap", pcap_header(105));
  EXPECT_NE(error_of(wireless, EPROTONOSUPPORT).find("IEEE802_11,"), std::string::npos);
}

TEST_F(PacketFileTest, TruncatedFileNamesThePacket) {
  const std::filesystem::path file = write_packets("a.pcap", {60, 60, 60});
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 10);
  Result<PacketReader> reader = PacketReader::open(file);
  ASSERT_TRUE(reader);
  const Result<std::optional<Packet>> end = last_of(*reader);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, EINVAL);
  EXPECT_TRUE(end.error().message.starts_with("cannot read packet 3 of " + file.string() + ": truncated"))
      << end.error().message;
  const Result<std::optional<Packet>> after = reader->next();
  ASSERT_TRUE(after);
  EXPECT_FALSE(*after);
}

TEST_F(PacketFileTest, TooLargePacketNamesBothSizes) {
  const std::filesystem::path file = write_packets("a.pcap", {100, 101});
  Result<PacketReader> reader = PacketReader::open(file, 100);
  ASSERT_TRUE(reader);
  const Result<std::optional<Packet>> end = last_of(*reader);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, EMSGSIZE);
  EXPECT_EQ(end.error().message, "packet 2 of " + file.string() + " has 101 bytes; at most 100 are allowed");
}

TEST_F(PacketFileTest, PacketOfTheGreatestSizeIsRead) {
  Result<PacketReader> reader = PacketReader::open(write_packets("a.pcap", {100}), 100);
  ASSERT_TRUE(reader);
  const Packet packet = read(*reader);
  EXPECT_EQ(packet.bytes.size(), 100u);
}

TEST_F(PacketFileTest, UnwritablePath) {
  const std::filesystem::path file = path("none") / "a.pcap";
  const Result<PacketWriter> writer = PacketWriter::open(file);
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, ENOENT);
  EXPECT_EQ(writer.error().message, "cannot open " + file.string() + ": No such file or directory");
}

TEST_F(PacketFileTest, FullDeviceIsReportedAtTheLatestOnClose) {
  Result<PacketWriter> writer = PacketWriter::open("/dev/full");
  ASSERT_TRUE(writer) << writer.error().message;
  const Result<void> closed = writer->close();
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, ENOSPC);
  EXPECT_EQ(closed.error().message, "cannot write /dev/full: No space left on device");
}

TEST_F(PacketFileTest, FullDeviceIsReportedOnWrite) {
  Result<PacketWriter> writer = PacketWriter::open("/dev/full");
  ASSERT_TRUE(writer);
  // More than any buffer of the standard library holds.
  const std::vector<uint8_t> bytes(200000);
  EXPECT_FALSE(writer->write(bytes, 200000, seconds(0)));
}

TEST_F(PacketFileTest, WritesEthernet) {
  std::array<char, PCAP_ERRBUF_SIZE> message{};
  pcap_t* capture = pcap_open_offline(write_packets("a.pcap", {60}).c_str(), message.data());
  ASSERT_NE(capture, nullptr) << message.data();
  EXPECT_EQ(pcap_datalink(capture), DLT_EN10MB);
  pcap_close(capture);
}

}  // namespace
}  // namespace skep::tools
