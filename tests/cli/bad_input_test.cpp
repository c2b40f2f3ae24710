// Bad input of every kind gets one line on stderr that names the thing, and exit status 1 or 2.
#include <gtest/gtest.h>

#include <algorithm>

#include "isa/assemble.hpp"
#include "tests/cli/command_runner.hpp"

namespace skep::test {
namespace {

std::string bare(std::string_view text) {
  const auto program = isa::assemble(text);
  EXPECT_TRUE(program.has_value()) << program.error().message;
  const auto encoded = isa::encode(*program);
  return {reinterpret_cast<const char*>(encoded.data()), encoded.size() * sizeof(isa::Encoded)};
}

void expect_error(const CommandResult& result, int status, std::initializer_list<const char*> words) {
  EXPECT_EQ(result.status, status) << result.out << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_TRUE(result.err.starts_with("skep: ")) << result.err;
  for (const char* word : words)
    EXPECT_NE(result.err.find(word), std::string::npos) << word << " in " << result.err;
}

const std::string kPacket = std::string(120, '0');

TEST(BadObject, NoSuchFile) {
  expect_error(skep({"run", "/no/such.o", "--data", kPacket}), 2, {"/no/such.o", "No such file"});
  expect_error(skep({"list", "/no/such.o"}), 2, {"/no/such.o"});
  expect_error(skep({"disasm", "/no/such.o"}), 2, {"/no/such.o"});
}

TEST(BadObject, ADirectory) { expect_error(skep({"run", "/tmp"}), 2, {"/tmp", "not a regular file"}); }

TEST(BadObject, NotAnElf) {
  const std::string path = write_file("text.o", "hello there");
  expect_error(skep({"run", path}), 2, {path.c_str(), "no ELF magic", "11 bytes"});
}

TEST(BadObject, Empty) {
  const std::string path = write_file("empty.o", "");
  expect_error(skep({"run", path}), 2, {path.c_str(), "empty"});
}

TEST(BadObject, ElfOfAnotherMachine) {
  expect_error(skep({"run", SKEP_COMMAND, "--data", kPacket}), 2, {SKEP_COMMAND, "not a valid eBPF object"});
}

TEST(BadObject, TruncatedAnywhere) {
  const std::string whole = read_text(object("flow_counter.bpf.o"));
  ASSERT_GT(whole.size(), 1000U);
  for (const size_t size :
       {size_t{4}, size_t{16}, size_t{63}, size_t{64}, size_t{500}, whole.size() / 2, whole.size() - 1}) {
    const std::string path = write_file("truncated.o", whole.substr(0, size));
    const CommandResult result = skep({"run", path, "--data", kPacket});
    SCOPED_TRACE(size);
    expect_error(result, 2, {path.c_str()});
  }
}

TEST(BadObject, WithoutAProgram) {
  expect_error(skep({"run", object("test_maps_only.bpf.o"), "--data", kPacket}), 2, {"no program"});
}

TEST(BadProgram, UnknownName) {
  expect_error(skep({"run", object("test_two.bpf.o"), "--prog", "third", "--data", kPacket}), 2,
               {"third", "first", "second"});
}

TEST(BadProgram, SeveralAndNoneNamed) {
  expect_error(skep({"run", object("test_two.bpf.o"), "--data", kPacket}), 2, {"--prog", "first, second"});
}

TEST(BadProgram, UnknownHelper) {
  expect_error(skep({"run", write_file("helper.bin", bare("call 9999\nexit"))}), 1,
               {"helper.bin", "unknown#9999"});
}

TEST(BadProgram, UnknownHelperInAnElf) {
  expect_error(skep({"run", object("test_unknown_helper.bpf.o"), "--data", kPacket}), 1,
               {"test_unknown_helper.bpf.o", "'calls_nobody'", "unknown#4711"});
}

TEST(BadProgram, BadOpcode) {
  std::string code = bare("r0 = 0\nexit");
  code[0] = '\x8f';
  expect_error(skep({"run", write_file("opcode.bin", code)}), 1, {"insn 0", "8f 00 00 00 00 00 00 00"});
}

TEST(BadProgram, JumpOutOfTheProgram) {
  expect_error(skep({"run", write_file("jump.bin", bare("goto +7\nexit"))}), 1,
               {"jump out of range from insn 0 to 8"});
}

TEST(BadProgram, FallsOffTheEnd) {
  expect_error(skep({"run", write_file("fall.bin", bare("r0 = 0"))}), 1, {"fall off the end"});
}

TEST(BadProgram, UnknownType) {
  expect_error(skep({"run", object("test_two.bpf.o"), "--prog", "first", "--type", "xpd", "--data", kPacket}),
               2, {"xpd", "xdp", "sched_cls"});
}

TEST(BadProgram, TypeThatIsNotRun) {
  expect_error(
      skep({"run", object("test_two.bpf.o"), "--prog", "first", "--type", "kprobe", "--data", kPacket}), 2,
      {"does not run", "kprobe"});
}

TEST(BadProgram, EndlessLoopRunsOutOfFuel) {
  for (const char* engine : {"interp", "jit"}) {
    const std::string path = write_file("loop.bin", bare("again:\ngoto again\nexit"));
    const CommandResult result = skep({"run", path, "--engine", engine, "--fuel", "100000"});
    expect_error(result, 1, {"out of fuel", "pc 0"});
  }
}

TEST(BadProgram, AccessOutOfBoundsNamesItsSourceLine) {
  for (const char* engine : {"interp", "jit"}) {
    const CommandResult result =
        skep({"run", object("test_out_of_bounds.bpf.o"), "--engine", engine, "--data", kPacket});
    expect_error(result, 1, {"memory fault", "test_out_of_bounds.bpf.c:", "read of 4 bytes"});
  }
}

TEST(BadInput, Pcap) {
  const std::string counter = object("flow_counter.bpf.o");
  expect_error(skep({"run", counter, "--pcap", "/no/such.pcap"}), 2, {"/no/such.pcap", "No such file"});
  const std::string traffic = read_text(sample_traffic());
  const std::string cut = write_file("cut.pcap", traffic.substr(0, traffic.size() - 5));
  expect_error(skep({"run", counter, "--pcap", cut}), 2, {cut.c_str()});
  const std::string text = write_file("text.pcap", "this is not a capture file, whatever its name says");
  expect_error(skep({"run", counter, "--pcap", text}), 2, {text.c_str()});
  std::string wrong = traffic;
  wrong[20] = 113;  // the link type of the file header: Linux cooked captures
  const std::string cooked = write_file("cooked.pcap", wrong);
  expect_error(skep({"run", counter, "--pcap", cooked}), 2, {cooked.c_str(), "LINUX_SLL"});
}

TEST(BadInput, Data) {
  const std::string counter = object("flow_counter.bpf.o");
  expect_error(skep({"run", counter}), 2, {"--pcap", "--data"});
  expect_error(skep({"run", counter, "--data", "0g"}), 2, {"--data", "'g'"});
  expect_error(skep({"run", counter, "--data", "000"}), 2, {"--data", "odd"});
  expect_error(skep({"run", counter, "--data", std::string(2 * 3521, '0')}), 2, {"3521 bytes", "3520"});
  expect_error(skep({"run", counter, "--data-in", "/no/such.bin"}), 2, {"/no/such.bin"});
  expect_error(skep({"run", counter, "--data", kPacket, "--pcap", sample_traffic()}), 2,
               {"--pcap", "--data"});
}

TEST(BadInput, Cpus) {
  const std::string counter = object("flow_counter.bpf.o");
  expect_error(skep({"run", counter, "--data", kPacket, "--cpus", "2", "--cpu", "2"}), 2,
               {"--cpu 2", "2 CPUs"});
  expect_error(skep({"run", counter, "--data", kPacket, "--cpus", "0"}), 2, {"1 to 1024"});
  expect_error(skep({"run", counter, "--data", kPacket, "--cpus", "1025"}), 2, {"1 to 1024"});
}

TEST(BadInput, UnreadableOutputPath) {
  expect_error(
      skep({"run", object("flow_counter.bpf.o"), "--data", kPacket, "--out-pcap", "/no/such/dir/out.pcap"}),
      2, {"/no/such/dir/out.pcap"});
}

TEST(BadUsage, UnknownOptionsAndSubcommands) {
  expect_error(skep({}), 2, {"subcommand"});
  expect_error(skep({"fly"}), 2, {"skep --help"});
  expect_error(skep({"run", "--mode", "strict", "x.o"}), 2, {"--mode", "strict", "checked,verified"});
  expect_error(skep({"run"}), 2, {"OBJ"});
  expect_error(skep({"run", "x.o", "--engine", "steam"}), 2, {"--engine"});
  expect_error(skep({"run", "x.o", "--repeat", "0"}), 2, {"--repeat"});
}

TEST(BadUsage, NoSuchPass) {
  expect_error(skep({"run", object("flow_counter.bpf.o"), "--data", kPacket, "--without-pass", "warp"}), 2,
               {"--without-pass", "warp", "dead-code"});
}

}  // namespace
}  // namespace skep::test
