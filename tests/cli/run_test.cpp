// What a user of `skep` sees when all is well.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "skep/machine.hpp"
#include "tests/cli/command_runner.hpp"

namespace skep::test {
namespace {

using nlohmann::json;

json run_json(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "run");
  arguments.emplace_back("--json");
  const CommandResult result = skep(std::move(arguments));
  EXPECT_EQ(result.status, 0) << result.err;
  return json::parse(result.out, nullptr, false);
}

json without_engine_and_time(json out) {
  out.erase("engine");
  out.erase("mode");
  out.erase("ns_per_run");
  return out;
}

const json& map_of(const json& out, const std::string& name) {
  for (const json& map : out["maps"])
    if (map["name"] == name) return map;
  static const json none;
  return none;
}

TEST(Run, BothEnginesAndModesAgreeToTheByte) {
  const auto with = [](const char* engine, const char* mode) {
    return without_engine_and_time(run_json({object("flow_counter.bpf.o"), "--pcap", sample_traffic(),
                                             "--cpus", "4", "--engine", engine, "--mode", mode}));
  };
  const json first = with("interp", "checked");
  EXPECT_EQ(first["runs"], 1000);
  EXPECT_EQ(first["type"], "xdp");
  EXPECT_GT(first["verdicts"].size(), 1U);
  EXPECT_EQ(first, with("jit", "checked"));
  EXPECT_EQ(first, with("interp", "verified"));
  EXPECT_EQ(first, with("jit", "verified"));
}

TEST(Run, RecordsAreShown) {
  const auto with = [](const char* engine, const char* mode) {
    return without_engine_and_time(
        run_json({object("packet_events.bpf.o"), "--pcap", sample_traffic(), "--engine", engine, "--mode",
                  mode, "--record-type", "events=packet_event"}));
  };
  const json out = with("jit", "checked");
  const json& events = map_of(out, "events");
  const json& globals = map_of(out, "packet_e.bss");
  EXPECT_GT(events["sent"], 48);  // the conversations, and what is broken
  EXPECT_EQ(events["sent"], events["records"].size());
  EXPECT_EQ(events["lost"], 0);
  EXPECT_EQ(globals["entries"][0]["value"]["sent"], events["sent"]);
  EXPECT_TRUE(events["records"][0]["value"].contains("flow"));
  EXPECT_EQ(out, with("interp", "checked"));
  EXPECT_EQ(out, with("jit", "verified"));
  EXPECT_EQ(out, with("interp", "verified"));
}

TEST(Run, RecordsWithoutATypeAreBytes) {
  const json out = run_json({object("packet_events.bpf.o"), "--pcap", sample_traffic()});
  const json& record = map_of(out, "events")["records"][0]["value"];
  ASSERT_TRUE(record.is_string());
  EXPECT_EQ(record.get<std::string>().size(), 96U);
}

TEST(Run, RecordsOfNoMapAreRefused) {
  for (const char* choice : {"known=packet_event", "events=nothing", "events"}) {
    const CommandResult result =
        skep({"run", object("packet_events.bpf.o"), "--pcap", sample_traffic(), "--record-type", choice});
    EXPECT_EQ(result.status, 2) << choice;
    EXPECT_NE(result.err.find("--record-type"), std::string::npos) << result.err;
  }
}

TEST(Run, HostThreadsChangeNothing) {
  const auto with = [](const char* threads) {
    return without_engine_and_time(run_json(
        {object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--cpus", "7", "--threads", threads}));
  };
  EXPECT_EQ(with("1"), with("3"));
}

TEST(Run, SpreadsOverCpus) {
  const json flow = run_json({object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--cpus", "4"});
  const json robin = run_json(
      {object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--cpus", "4", "--spread", "round-robin"});
  const json one =
      run_json({object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--cpus", "4", "--cpu", "3"});
  EXPECT_EQ(robin["packets_per_cpu"], json({250, 250, 250, 250}));
  EXPECT_EQ(one["packets_per_cpu"], json({0, 0, 0, 1000}));
  for (const json& count : flow["packets_per_cpu"]) EXPECT_GT(count, 0);
  EXPECT_EQ(map_of(flow, "flows"), map_of(robin, "flows")) << "the shared map does not care";
}

TEST(Run, PerCpuValuesComePerCpu) {
  const json out =
      run_json({object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--cpus", "4", "--cpu", "3"});
  const json& protocols = map_of(out, "protocols");
  ASSERT_TRUE(protocols.is_object());
  bool seen = false;
  for (const json& entry : protocols["entries"]) {
    ASSERT_EQ(entry["values"].size(), 4U);
    EXPECT_EQ(entry["values"][0], entry["values"][1]) << "nothing ran there";
    seen = seen || entry["values"][3] != entry["values"][0];
  }
  EXPECT_TRUE(seen);
}

TEST(Run, SeedMakesRunsEqual) {
  const auto with = [](const char* seed) {
    json out = run_json({object("test_environment.bpf.o"), "--data", std::string(120, '0'), "--seed", seed});
    return out["retval"];
  };
  EXPECT_EQ(with("1"), with("1"));
  EXPECT_NE(with("1"), with("2"));
}

TEST(Run, RawFunctionsGetMemoryAndLength) {
  const json out = run_json({object("raw_checksum.bpf.o"), "--data", "00010203"});
  EXPECT_EQ(out["type"], "raw");
  EXPECT_EQ(out["runs"], 1);
}

TEST(Run, TracePrintkIsShown) {
  const CommandResult result = skep({"run", object("port_firewall.bpf.o"), "--pcap", sample_traffic()});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("trace cpu 0: "), std::string::npos) << result.out;
}

TEST(Run, OutPcapHoldsWhatWasNotDropped) {
  const std::string out_path = scratch_path("out.pcap");
  const json first =
      run_json({object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--out-pcap", out_path});
  const json again = run_json({object("flow_counter.bpf.o"), "--pcap", out_path});
  uint64_t kept = 0;
  for (const auto& [verdict, count] : first["verdicts"].items())
    if (verdict != "XDP_DROP" && verdict != "XDP_ABORTED") kept += count.get<uint64_t>();
  EXPECT_EQ(again["runs"], kept);
}

TEST(Run, RepeatRunsOnFreshCopies) {
  const json once = run_json({object("flow_counter.bpf.o"), "--pcap", sample_traffic()});
  const json thrice = run_json({object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--repeat", "3"});
  EXPECT_EQ(thrice["runs"], 3000);
  for (const auto& [verdict, count] : once["verdicts"].items())
    EXPECT_EQ(thrice["verdicts"][verdict], 3 * count.get<int>());
}

TEST(Run, FaultsAreListedInTheJson) {
  const CommandResult result =
      skep({"run", object("test_out_of_bounds.bpf.o"), "--data", std::string(120, '0'), "--json"});
  EXPECT_EQ(result.status, 1);
  const json out = json::parse(result.out, nullptr, false);
  ASSERT_EQ(out["faults"].size(), 1U);
  EXPECT_EQ(out["faults"][0]["kind"], "memory");
  EXPECT_EQ(out["faults"][0]["size"], 4);
  EXPECT_TRUE(out["faults"][0]["file"].get<std::string>().ends_with("test_out_of_bounds.bpf.c"));
}

TEST(Run, DumpMapsPrintsFieldsByName) {
  const CommandResult result =
      skep({"run", object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--dump-maps"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("map flows (hash, "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find(".packets = "), std::string::npos);
}

TEST(List, ShowsProgramsAndMaps) {
  const CommandResult text = skep({"list", object("flow_counter.bpf.o")});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("type xdp"), std::string::npos);
  EXPECT_NE(text.out.find("map flows  type hash"), std::string::npos) << text.out;
  const CommandResult as_json = skep({"list", object("flow_counter.bpf.o"), "--json"});
  const json out = json::parse(as_json.out, nullptr, false);
  EXPECT_EQ(out["programs"].size(), 1U);
}

TEST(Disasm, ShowsSourceLinesAndMachineCode) {
  const CommandResult text = skep({"disasm", object("flow_counter.bpf.o")});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("flow_counter.bpf.c:"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("call bpf_map_lookup_elem#1"), std::string::npos);
  EXPECT_NE(text.out.find("// flows"), std::string::npos) << "maps by name\n" << text.out;
  const CommandResult code = skep({"disasm", object("raw_checksum.bpf.o"), "--jit"});
  EXPECT_NE(code.out.find("ret"), std::string::npos) << code.out;
  const CommandResult verified =
      skep({"disasm", object("raw_checksum.bpf.o"), "--jit", "--mode", "verified"});
  EXPECT_LT(verified.out.size(), code.out.size()) << "no checks\n" << verified.out;
}

TEST(Help, IsThereForEverySubcommand) {
  for (const char* command : {"run", "bench", "disasm", "list"}) {
    const CommandResult result = skep({command, "--help"});
    EXPECT_EQ(result.status, 0);
    EXPECT_NE(result.out.find("OBJ"), std::string::npos);
    EXPECT_TRUE(result.err.empty());
    const auto is_text = [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); };
    EXPECT_TRUE(std::ranges::all_of(result.out, is_text)) << result.out;
  }
  EXPECT_NE(skep({"run", "--help"}).out.find("--mode TEXT:{checked,verified}"), std::string::npos);
  EXPECT_EQ(skep({"--help"}).status, 0);
  EXPECT_EQ(skep({"--version"}).status, 0);
}

TEST(Conformance, ReadsMemoryAndProgram) {
  // r0 = *(u8 *)(r1 + 1); exit
  const std::string program = "71 10 01 00 00 00 00 00 95 00 00 00 00 00 00 00";
  for (const char* engine : {"--jit", "--interpret"}) {
    EXPECT_EQ(conformance({"aa bb cc", engine}, program).out, "bb\n");
    EXPECT_EQ(conformance({"aabbcc", "--program", program, engine}).out, "bb\n");
  }
  // r0 = -1; exit, without memory
  const std::string minus_one = "b7 00 00 00 ff ff ff ff 95 00 00 00 00 00 00 00\n";
  EXPECT_EQ(conformance({}, minus_one).out, "ffffffffffffffff\n");
  EXPECT_EQ(conformance({""}, minus_one).out, "ffffffffffffffff\n");
  EXPECT_EQ(conformance({"--engine", "interp"}, minus_one).out, "ffffffffffffffff\n");
}

TEST(Conformance, RefusesWhatIsNoProgram) {
  EXPECT_EQ(conformance({}, "zz").status, 2);
  EXPECT_EQ(conformance({}, "").status, 2);
  EXPECT_EQ(conformance({}, "95 00").status, 2);
  const CommandResult fault = conformance({"aa"}, "71 10 01 00 00 00 00 00 95 00 00 00 00 00 00 00");
  EXPECT_EQ(fault.status, 1);
  EXPECT_NE(fault.err.find("memory fault at pc 0"), std::string::npos);
}

TEST(Run, PassesChangeNothing) {
  std::vector<std::string> arguments{object("flow_counter.bpf.o"), "--pcap", sample_traffic()};
  const json all = without_engine_and_time(run_json(arguments));
  for (const std::string& pass : pass_names()) arguments.insert(arguments.end(), {"--without-pass", pass});
  EXPECT_EQ(without_engine_and_time(run_json(arguments)), all);
}

}  // namespace
}  // namespace skep::test
