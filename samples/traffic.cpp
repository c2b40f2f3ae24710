// skep-sample-traffic: writes a pcap file of made-up traffic for the samples to run on.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include "samples/traffic_mix.hpp"
#include "tools/packet_file.hpp"

namespace {

using skep::Result;
using skep::samples::CapturedFrame;
using skep::samples::TrafficMix;
using skep::tools::PacketWriter;

struct Options {
  uint64_t packets = 1000;
  uint64_t seed = 1;
  bool runts = false;
  std::string output;
};

// The first packet's time, 2024-01-01 00:00:00 UTC, and the time from one packet to the next.
constexpr std::chrono::nanoseconds kStart = std::chrono::seconds(1704067200);
constexpr std::chrono::nanoseconds kInterval = std::chrono::microseconds(100);

Result<void> write_traffic(const Options& options) {
  Result<PacketWriter> writer = PacketWriter::open(options.output);
  if (!writer) return std::unexpected(writer.error());
  TrafficMix mix(options.seed, options.runts);
  std::chrono::nanoseconds now = kStart;
  for (uint64_t i = 0; i < options.packets; ++i, now += kInterval) {
    const CapturedFrame frame = mix.next();
    const Result<void> written =
        writer->write(frame.bytes, static_cast<uint32_t>(frame.original_length), now);
    if (!written) return written;
  }
  return writer->close();
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Writes a pcap file of made-up traffic; the same seed writes the same bytes.");
  app.add_option("--packets", options.packets, "How many packets to write")->capture_default_str();
  app.add_option("--seed", options.seed, "Where the random numbers start")->capture_default_str();
  app.add_flag("--runts", options.runts,
               "Cut some frames inside the Ethernet header too (test runs refuse frames below 14 bytes)");
  app.add_option("output", options.output, "The file to write")->required();
  CLI11_PARSE(app, argc, argv);

  const Result<void> written = write_traffic(options);
  if (written) return 0;
  fmt::print(stderr, "skep-sample-traffic: {}\n", written.error().message);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    std::fputs("\n", stderr);
    return 1;
  }
}
