// `--harden`, `--perf-map` and `--gdb-jit` of the commands that run programs.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cli/command_runner.hpp"

namespace skep::test {
namespace {

using nlohmann::json;

json run_json(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"run", "--json"});
  const CommandResult result = skep(std::move(arguments));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  json out = json::parse(result.out, nullptr, false);
  out.erase("ns_per_run");
  return out;
}

TEST(Harden, ChangesNoResult) {
  for (const char* mode : {"checked", "verified"}) {
    const auto with = [mode](std::vector<std::string> more) {
      more.insert(more.end(),
                  {object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--cpus", "3", "--mode", mode});
      return run_json(more);
    };
    const json plain = with({});
    EXPECT_EQ(plain["runs"], 1000);
    for (const char* names : {"blinding", "retpolines", "guard-pages", "blinding,retpolines,guard-pages"})
      EXPECT_EQ(with({"--harden", names}), plain) << names;
    EXPECT_EQ(with({"--harden", "blinding", "--harden", "guard-pages", "--gdb-jit"}), plain);
  }
}

TEST(Harden, OfBench) {
  const CommandResult result = skep({"bench", object("raw_checksum.bpf.o"), "--data", "0001f203f4f5f6f7",
                                     "--engines", "interp,jit", "--rounds", "1", "--min-time", "0.001",
                                     "--harden", "blinding,retpolines,guard-pages", "--gdb-jit"});
  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(Harden, UnknownNamesAreRefused) {
  for (const char* command : {"run", "bench"}) {
    const CommandResult result = skep({command, object("raw_checksum.bpf.o"), "--harden", "blinding,armour"});
    EXPECT_EQ(result.status, 2);
    EXPECT_NE(result.err.find("armour"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("guard-pages"), std::string::npos) << "the choices\n" << result.err;
  }
}

TEST(Harden, IsInTheHelp) {
  for (const char* command : {"run", "bench"}) {
    const std::string help = skep({command, "--help"}).out;
    for (const char* text : {"--harden", "blinding", "retpolines", "guard-pages", "--perf-map", "--gdb-jit"})
      EXPECT_NE(help.find(text), std::string::npos) << command << " " << text;
  }
}

// The command's process is gone, and its number not known: its file is the one that names the program.
std::vector<std::string> take_perf_maps_naming(const std::string& symbol) {
  std::vector<std::string> texts;
  for (const auto& file : std::filesystem::directory_iterator("/tmp")) {
    const std::string name = file.path().filename();
    if (!name.starts_with("perf-") || !name.ends_with(".map") || access(file.path().c_str(), R_OK) != 0)
      continue;
    const std::string text = read_text(file.path());
    if (text.find(symbol) == std::string::npos) continue;
    texts.push_back(text);
    std::filesystem::remove(file.path());
  }
  return texts;
}

TEST(PerfMap, IsWrittenWhenAskedFor) {
  const std::string symbol = " bpf_prog_checksum_checksum\n";
  take_perf_maps_naming(symbol);  // of earlier runs
  const std::vector<std::string> run{"run", object("raw_checksum.bpf.o"), "--data", "0001f203f4f5f6f7"};
  EXPECT_EQ(skep(run).status, 0);
  EXPECT_TRUE(take_perf_maps_naming(symbol).empty());
  std::vector<std::string> named = run;
  named.emplace_back("--perf-map");
  EXPECT_EQ(skep(named).status, 0);
  EXPECT_EQ(take_perf_maps_naming(symbol).size(), 1U);
}

bool gdb_can_run() {
  return access("/usr/bin/gdb", X_OK) == 0 &&
         run_command({"/usr/bin/gdb", "--batch", "-nx", "-ex", "run", "/bin/true"})
                 .out.find("exited normally") != std::string::npos;
}

// A breakpoint by a name that only the object in memory has.
TEST(GdbJit, BreaksInAProgram) {
  if (!gdb_can_run()) GTEST_SKIP() << "gdb is not there, or cannot run programs";
  const auto with = [](const char* option) {
    return run_command({"/usr/bin/gdb", "--batch", "-nx", "-ex", "set breakpoint pending on", "-ex",
                        "break bpf_prog_checksum_checksum", "-ex", "run", "-ex", "info symbol $pc", "--args",
                        SKEP_COMMAND, "run", object("raw_checksum.bpf.o"), "--data", "0001f203f4f5f6f7",
                        option})
        .out;
  };
  const std::string out = with("--gdb-jit");
  EXPECT_NE(out.find("Breakpoint 1, "), std::string::npos) << out;
  EXPECT_NE(out.find("bpf_prog_checksum_checksum in section .text"), std::string::npos) << out;
  EXPECT_EQ(with("--keep-going").find("Breakpoint 1, "), std::string::npos);
}

}  // namespace
}  // namespace skep::test
