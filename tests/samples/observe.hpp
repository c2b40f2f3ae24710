#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "skep/error.hpp"
#include "tools/packet_file.hpp"

namespace skep::samples {

using tools::Packet;

// All packets of a capture file.
Result<std::vector<Packet>> read_packets(const std::filesystem::path& path);

// What identifies a set of packets: how many there are, and a hash of their bytes.
nlohmann::json describe(const std::vector<Packet>& packets);

// Loads the only program of a BPF object through libbpf, runs it once for every packet with
// BPF_PROG_TEST_RUN, and tells what could be seen from outside:
//   runs, skipped     how many packets were run, and how many not: see below
//   verdicts          return value -> how often
//   returns           every return value in order, "-" for a packet that was skipped
//   output            FNV-1a (64 bits) over every run's outgoing packet, each preceded by its size (32 bits)
//   context           the same over mark, priority and cb[0] of the outgoing __sk_buff (not for XDP)
//   maps              name -> key -> value, as hexadecimal bytes. Values of per-CPU maps are the sums of
//   their 64-bit
//                     words over all CPUs. Entries of arrays that are all zero, and read-only data, are left
//                     out.
//
// Programs on a __sk_buff skip packets whose EtherType promises an IP header that is not all there: kernels
// of 2026 refuse to run them (EINVAL), earlier ones did not.
//
// It speaks to whatever bpf(2) libbpf was linked with. Errors carry the code of the call that failed.
Result<nlohmann::json> observe(const std::filesystem::path& object, const std::vector<Packet>& packets);

}  // namespace skep::samples
