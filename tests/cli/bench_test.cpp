// `skep bench`: what is compared and reported. How long anything takes is nobody's business here.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cli/command_runner.hpp"
#include "tests/kernel_access.hpp"

namespace skep::test {
namespace {

using nlohmann::json;

const std::string kMemory = "0001f203f4f5f6f7";
const std::string kFrame = std::string(24, 'f') + "9999" + std::string(100, '0');  // of no known type

CommandResult bench(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "bench");
  arguments.insert(arguments.end(), {"--rounds", "2", "--min-time", "0.0001"});
  return skep(std::move(arguments));
}

CommandResult bench_checksum(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {object("raw_checksum.bpf.o"), "--data", kMemory});
  return bench(std::move(arguments));
}

std::string native(const std::string& symbol) { return std::string(SKEP_BENCH_NATIVES) + ":" + symbol; }

void expect_error(const CommandResult& result, int status, std::initializer_list<const char*> words) {
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_TRUE(result.out.empty()) << "nothing is timed\n" << result.out;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  for (const char* word : words)
    EXPECT_NE(result.err.find(word), std::string::npos) << word << " in " << result.err;
}

TEST(Bench, JsonHasEveryEngineAskedFor) {
  const CommandResult result =
      bench_checksum({"--engines", "interp,jit", "--native", native("right"), "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json out = json::parse(result.out, nullptr, false);
  ASSERT_EQ(out["programs"].size(), 1U) << result.out;
  const json& program = out["programs"][0];
  EXPECT_EQ(program["program"], "checksum");
  EXPECT_EQ(program["type"], "raw");
  EXPECT_GT(program["insns"], 5);
  ASSERT_EQ(program["engines"].size(), 3U);
  const char* names[] = {"interp", "jit", "native"};
  for (size_t n = 0; n < 3; ++n) {
    const json& engine = program["engines"][n];
    EXPECT_EQ(engine["engine"], names[n]);
    EXPECT_GT(engine["ns_per_run"], 0);
    EXPECT_LE(engine["min"], engine["ns_per_run"]);
    EXPECT_GE(engine["max"], engine["ns_per_run"]);
  }
  EXPECT_TRUE(program["engines"][0]["code_bytes"].is_null());
  EXPECT_GT(program["engines"][1]["code_bytes"], 0);
  EXPECT_GT(program["engines"][1]["compile_ns"], 0);
  EXPECT_TRUE(program["engines"][2]["code_bytes"].is_null());
}

TEST(Bench, PacketsOfAFileAreOnePass) {
  const CommandResult result = bench({object("flow_counter.bpf.o"), "--pcap", sample_traffic(), "--engines",
                                      "interp,jit", "--mode", "verified", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json out = json::parse(result.out, nullptr, false);
  EXPECT_EQ(out["mode"], "verified");
  EXPECT_EQ(out["programs"][0]["inputs"], 1000);
}

TEST(Bench, TextNamesProgramAndEngines) {
  const CommandResult result = bench_checksum({"--engines", "interp,jit"});
  EXPECT_EQ(result.status, 0) << result.err;
  for (const char* word : {"program checksum (type raw", "interp", "jit", "fewer than 5 rounds"})
    EXPECT_NE(result.out.find(word), std::string::npos) << word << " in " << result.out;
}

TEST(Bench, AllProgramsThatCanRunAreTimed) {
  const CommandResult result =
      bench({object("test_two.bpf.o"), "--data", std::string(120, '0'), "--engines", "interp,jit", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(json::parse(result.out, nullptr, false)["programs"].size(), 2U);
}

TEST(Bench, AnotherReturnValueIsSaid) {
  expect_error(
      bench_checksum({"--engines", "interp,jit", "--native", native("wrong_value")}), 1,
      {"checksum", "disagree", "interp returns 0x220d", "native returns 0x220e", "nothing was timed"});
}

TEST(Bench, OtherMemoryIsSaid) {
  expect_error(bench_checksum({"--engines", "jit", "--native", native("wrong_memory")}), 1,
               {"byte 2 is 0xf2 after jit, 0xee after native"});
}

TEST(Bench, AFaultIsSaid) {
  expect_error(
      bench({object("test_out_of_bounds.bpf.o"), "--data", std::string(120, '0'), "--engines", "jit"}), 1,
      {"memory fault", "jit"});
}

TEST(Bench, KernelThatCannotIsNoErrorUnlessAskedFor) {
  const CommandResult without = bench_checksum({});
  EXPECT_EQ(without.status, 0) << without.err;
  EXPECT_NE(without.err.find("not timed in the kernel"), std::string::npos);
  const CommandResult asked = bench_checksum({"--engines", "jit,kernel"});
  EXPECT_EQ(asked.status, 1);
  EXPECT_NE(asked.err.find("no programs of type raw"), std::string::npos);
  EXPECT_NE(asked.out.find("jit"), std::string::npos) << "the others are timed";
}

TEST(Bench, KernelAgrees) {
  if (!kernel_allows_bpf()) GTEST_SKIP() << "bpf(2): " << std::strerror(errno);
  const CommandResult result =
      bench({object("flow_counter.bpf.o"), "--data", kFrame, "--engines", "interp,jit,kernel", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json out = json::parse(result.out, nullptr, false);
  ASSERT_EQ(out["programs"][0]["engines"].size(), 3U);
  EXPECT_EQ(out["programs"][0]["engines"][2]["engine"], "kernel");
}

// The sample that is there for every engine.
TEST(Bench, FlowSamplerInEveryEngine) {
  std::vector<std::string> arguments{object("flow_sampler.bpf.o"),
                                     "--data",
                                     kFrame,
                                     "--native",
                                     std::string(SKEP_SAMPLE_NATIVE) + ":flow_sampler",
                                     "--json"};
  if (!kernel_allows_bpf()) arguments.insert(arguments.end(), {"--engines", "interp,jit"});
  const CommandResult result = bench(arguments);
  ASSERT_EQ(result.status, 0) << result.err;
  const json out = json::parse(result.out, nullptr, false);
  EXPECT_EQ(out["programs"][0]["engines"].size(), kernel_allows_bpf() ? 4U : 3U) << result.err;
}

TEST(Bench, ReportIsOnePageThatNeedsNothingElse) {
  const std::string path = write_file("report.html", "the last one");
  const CommandResult result =
      bench_checksum({"--engines", "interp,jit", "--native", native("right"), "--report", path});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("native"), std::string::npos) << "the text comes too";
  const std::string page = read_text(path);
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>")) << page.substr(0, 100);
  EXPECT_TRUE(page.ends_with("</html>\n"));
  for (const char* word :
       {"checksum · raw", "class=\"interp\"", "class=\"jit\"", "class=\"native\"", "Time of a run",
        "Time of an instruction", "Machine code", "Compiling", "fewer than 5 rounds", "--report"})
    EXPECT_NE(page.find(word), std::string::npos) << word;
  for (const char* word : {"<script", "http:", "https:", "src=", "@import", "url("})
    EXPECT_EQ(page.find(word), std::string::npos) << word;
}

TEST(Bench, NamesInAReportAreText) {
  const std::string page = scratch_path("names.html");
  const std::string named = write_file("a<b>&c.o", read_text(object("raw_checksum.bpf.o")));
  ASSERT_EQ(bench({named, "--data", kMemory, "--engines", "jit", "--report", page}).status, 0);
  EXPECT_NE(read_text(page).find("a&lt;b&gt;&amp;c.o"), std::string::npos);
  EXPECT_EQ(read_text(page).find("a<b>"), std::string::npos);
}

TEST(Bench, ReportThatCannotBeWrittenIsSaidFirst) {
  expect_error(bench_checksum({"--engines", "jit", "--report", "/no/such/report.html"}), 2,
               {"/no/such/report.html", "No such file"});
  expect_error(bench_checksum({"--engines", "jit", "--report", "/dev/null"}), 2, {"/dev/null", "ordinary"});
}

TEST(Bench, AReportThatIsNotMadeLeavesTheLastOne) {
  const std::string path = write_file("kept.html", "the last one");
  const auto files = [&] {
    return std::ranges::distance(
        std::filesystem::directory_iterator(std::filesystem::path(path).parent_path()));
  };
  const auto before = files();
  EXPECT_EQ(bench_checksum({"--engines", "jit", "--native", native("wrong_value"), "--report", path}).status,
            1);
  EXPECT_EQ(read_text(path), "the last one");
  EXPECT_EQ(files(), before) << "nothing is left behind";
}

TEST(Bench, BadInput) {
  const std::string counter = object("flow_counter.bpf.o");
  expect_error(bench({"/no/such.o"}), 2, {"/no/such.o"});
  expect_error(bench({object("test_two.bpf.o"), "--prog", "third"}), 2, {"third", "first"});
  expect_error(bench_checksum({"--engines", "steam"}), 2, {"--engines"});
  expect_error(bench_checksum({"--rounds", "0"}), 2, {"--rounds"});
  expect_error(bench({counter}), 2, {"--pcap"});
  expect_error(bench({counter, "--pcap", "/no/such.pcap"}), 2, {"/no/such.pcap"});
  const std::string traffic = read_text(sample_traffic());
  const std::string cut = write_file("cut-bench.pcap", traffic.substr(0, traffic.size() - 5));
  expect_error(bench({counter, "--pcap", cut}), 2, {cut.c_str()});
  const std::string none = write_file("none.pcap", traffic.substr(0, 24));
  expect_error(bench({counter, "--pcap", none}), 2, {"no packets"});
  expect_error(bench({counter, "--data", "00", "--engines", "jit"}), 2, {"xdp"});
}

TEST(Bench, BadNative) {
  expect_error(bench_checksum({"--engines", "jit", "--native", "lib.so"}), 2, {"SHARED_OBJECT:SYMBOL"});
  expect_error(bench_checksum({"--engines", "jit", "--native", "/no/such.so:f"}), 2, {"/no/such.so"});
  expect_error(bench_checksum({"--engines", "jit", "--native", native("nobody")}), 2, {"nobody"});
  expect_error(bench({object("test_two.bpf.o"), "--data", std::string(120, '0'), "--engines", "jit",
                      "--native", native("right")}),
               2, {"--prog"});
}

}  // namespace
}  // namespace skep::test
