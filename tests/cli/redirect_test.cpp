// Devices, redirects and elements set from the command line.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/command_runner.hpp"
#include "tools/packet_file.hpp"

namespace skep::test {
namespace {

using nlohmann::json;

std::vector<std::string> routing(const std::string& first, const std::string& second,
                                 const std::string& third) {
  return {"run",       object("packet_router.bpf.o"),
          "--pcap",    sample_traffic(),
          "--dev",     "2=" + first,
          "--dev",     "3=" + second,
          "--dev",     "4=" + third,
          "--ingress", "4",
          "--cpus",    "2",
          "--set",     "networks:0xc00002=2@on_device",
          "--set",     "networks:0xc63364=3@on_device",
          "--set",     "networks:1=2@on_device",
          "--set",     "networks:2=3@on_device",
          "--set",     "networks:99=4",
          "--set",     "cpus:1=64@on_cpu"};
}

json run_json(std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const CommandResult result = skep(std::move(arguments));
  EXPECT_EQ(result.status, 0) << result.err;
  return json::parse(result.out, nullptr, false);
}

std::vector<tools::Packet> packets_of(const std::string& path) {
  std::vector<tools::Packet> packets;
  auto reader = tools::PacketReader::open(path);
  if (!reader) ADD_FAILURE() << reader.error().message;
  while (reader) {
    auto packet = reader->next();
    if (!packet || !*packet) break;
    packets.push_back(std::move(**packet));
  }
  return packets;
}

json entry_of(const json& out, const std::string& map, size_t index) {
  for (const json& candidate : out["maps"])
    if (candidate["name"] == map) return candidate["entries"].at(index);
  return nullptr;
}

TEST(Redirect, FilesHoldWhatDevicesSend) {
  const std::string first = scratch_path("first.pcap");
  const std::string second = scratch_path("second.pcap");
  const std::string third = scratch_path("third.pcap");
  const json out = run_json(routing(first, second, third));
  const auto sent_by_2 = packets_of(first);
  const auto sent_by_3 = packets_of(second);
  EXPECT_EQ(out["redirects"], json({{"2", sent_by_2.size()}, {"3", sent_by_3.size()}}));
  EXPECT_FALSE(sent_by_2.empty());
  EXPECT_FALSE(sent_by_3.empty());
  EXPECT_TRUE(packets_of(third).empty()) << "what came by device 4 does not go back by it";
  EXPECT_EQ(out["redirect_errors"], json::object());
  EXPECT_EQ(out["transmits"], json::object());
  // The devices' program was there: the source is the device's address.
  for (const tools::Packet& packet : sent_by_3)
    EXPECT_EQ(std::vector<uint8_t>(packet.bytes.begin() + 6, packet.bytes.begin() + 12),
              (std::vector<uint8_t>{2, 0, 0, 0, 0, 3}));
  // Pings were counted on CPU 1 and nowhere else.
  const json pings = entry_of(out, "pings", 0);
  EXPECT_EQ(pings["values"][0], 0) << pings;
  EXPECT_EQ(pings["values"][1], out["cpu_redirects"]["1"]);
  EXPECT_GT(out["cpu_redirects"]["1"], 0);
}

TEST(Redirect, EnginesAndModesAgree) {
  std::vector<std::string> seen;
  for (const char* engine : {"jit", "interp"})
    for (const char* mode : {"checked", "verified"}) {
      const std::string first = scratch_path("first.pcap");
      const std::string second = scratch_path("second.pcap");
      auto arguments = routing(first, second, scratch_path("third.pcap"));
      arguments.insert(arguments.end(), {"--engine", engine, "--mode", mode});
      json out = run_json(std::move(arguments));
      for (const char* other : {"engine", "mode", "ns_per_run", "maps"}) out.erase(other);
      seen.push_back(out.dump() + read_text(first) + read_text(second));
    }
  for (const std::string& one : seen) EXPECT_EQ(one, seen.front());
}

TEST(Redirect, SummaryCountsThem) {
  const CommandResult result =
      skep(routing(scratch_path("a.pcap"), scratch_path("b.pcap"), scratch_path("c.pcap")));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("redirects\n  device 2 "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("redirects to CPUs\n  cpu 1 "), std::string::npos) << result.out;
}

TEST(Redirect, TransmitsLeaveByTheIngressDevice) {
  const std::string back = scratch_path("back.pcap");
  const json out = run_json({"run", object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--dev",
                             "7=" + back, "--ingress", "7"});
  EXPECT_EQ(out["transmits"], json({{"7", out["verdicts"]["XDP_TX"]}}));
  EXPECT_EQ(packets_of(back).size(), out["verdicts"]["XDP_TX"]);
  EXPECT_EQ(out["redirects"], json::object());
}

// r1 = 9; r2 = 0; call bpf_redirect; exit
constexpr const char kToDevice9[] =
    "\xb7\x01\0\0\x09\0\0\0\xb7\x02\0\0\0\0\0\0\x85\0\0\0\x17\0\0\0\x95\0\0\0\0\0\0\0";

TEST(Redirect, MissingDevicesAreCounted) {
  const std::string program = write_file("to9", std::string(kToDevice9, sizeof kToDevice9 - 1));
  const std::string packet(120, '0');
  const json lost = run_json({"run", program, "--type", "xdp", "--data", packet});
  EXPECT_EQ(lost["verdicts"], json({{"XDP_REDIRECT", 1}}));
  EXPECT_EQ(lost["redirects"], json::object());
  EXPECT_EQ(lost["redirect_errors"], json({{"EINVAL", 1}}));
  const CommandResult text = skep({"run", program, "--type", "xdp", "--data", packet, "--repeat", "3"});
  EXPECT_NE(text.out.find("EINVAL           3  (redirect: there is no device 9)"), std::string::npos)
      << text.out;
  const json sent = run_json({"run", program, "--type", "xdp", "--data", packet, "--repeat", "3", "--dev",
                              "9=" + scratch_path("nine.pcap")});
  EXPECT_EQ(sent["redirects"], json({{"9", 3}}));
  EXPECT_EQ(packets_of(scratch_path("nine.pcap")).size(), 1U) << "repetitions are written once";
}

std::string refusal(std::vector<std::string> more) {
  std::vector<std::string> arguments{"run", object("packet_router.bpf.o"), "--pcap", sample_traffic()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const CommandResult result = skep(std::move(arguments));
  EXPECT_EQ(result.status, 2) << result.out;
  EXPECT_TRUE(result.out.empty());
  return result.err;
}

TEST(Redirect, BadDevicesAreRefused) {
  const std::string file = scratch_path("out.pcap");
  for (const std::string bad : {"2", "=x", "2=", "0=x", "x=y", "2147483648=x", "-1=x", "2 =x"})
    EXPECT_EQ(refusal({"--dev", bad}), "skep: --dev " + bad + ": not IFINDEX=FILE, as in --dev 2=out.pcap\n");
  EXPECT_EQ(refusal({"--dev", "2=" + file, "--dev", "2=" + file + "x"}),
            "skep: --dev 2=" + file + "x: device 2 is given twice\n");
  const std::string same = scratch_path("./out.pcap");
  EXPECT_EQ(refusal({"--dev", "2=" + file, "--dev", "3=" + same}),
            "skep: --dev 3=" + same + ": " + same + " is in use for something else\n");
  EXPECT_EQ(refusal({"--dev", "2=" + file, "--out-pcap", file}),
            "skep: --dev 2=" + file + ": " + file + " is in use for something else\n");
  EXPECT_EQ(
      refusal({"--dev", "2=" + sample_traffic()}),
      "skep: --dev 2=" + sample_traffic() + ": " + sample_traffic() + " is in use for something else\n");
  EXPECT_EQ(refusal({"--dev", "2=/nowhere/x.pcap"}),
            "skep: --dev 2=/nowhere/x.pcap: cannot open /nowhere/x.pcap: No such file or directory\n");
  EXPECT_EQ(refusal({"--ingress", "5"}), "skep: --ingress 5: there is no such device; give --dev 5=FILE\n");
}

TEST(Redirect, BadElementsAreRefused) {
  for (const std::string bad :
       {"networks", "networks:1", "networks:=1", "networks:1=", "networks:x=1", "networks:1=2@", ":1=2"})
    EXPECT_EQ(refusal({"--set", bad}),
              "skep: --set " + bad + ": not MAP:KEY=VALUE or MAP:KEY=VALUE@PROGRAM\n");
  EXPECT_NE(refusal({"--set", "nets:1=1"}).find("no loaded map named 'nets'"), std::string::npos);
  EXPECT_NE(refusal({"--set", "networks:1=9"}).find("there is no device 9: give --dev 9=FILE"),
            std::string::npos);
  EXPECT_NE(refusal({"--set", "networks:1=1@nobody"}).find("no loaded program named 'nobody'"),
            std::string::npos);
  EXPECT_NE(refusal({"--set", "networks:0x100000000=1"}).find("keys have 4 bytes"), std::string::npos);
  EXPECT_NE(refusal({"--set", "cpus:3=8"}).find("No such device"), std::string::npos);
  EXPECT_NE(refusal({"--set", "pings:0=1@on_cpu"}).find("no room for a program"), std::string::npos);
  EXPECT_NE(refusal({"--prog", "on_device"}).find("is for elements of a device map"), std::string::npos);
}

}  // namespace
}  // namespace skep::test
