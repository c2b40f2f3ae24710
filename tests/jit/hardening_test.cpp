#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine_pair.hpp"
#include "maps/epoch.hpp"
#include "tools/machine_code.hpp"
#include "vm/interpreter.hpp"

// What makes the JIT's code, and the memory of runs, hard to misuse. That hardened code does what other code
// does is what the whole of these tests says, run with SKEP_TEST_JIT=hardened.
namespace skep::jit {
namespace {

using vm::EngineKind;
using vm::Mode;
using vm::PassSet;

JitOptions blinding(std::optional<uint64_t> seed = 5) { return {.blind_constants = true, .seed = seed}; }

constexpr uint32_t kConstant = 0x1badb002;  // "469610498"
constexpr uint64_t kWideConstant = 0x1badb002'5eadc0de;

std::span<const uint8_t> code_of(const vm::Program& program, Mode mode) {
  return program.executable(EngineKind::kJit, mode).machine_code();
}

template <class T>
bool holds(std::span<const uint8_t> code, T number) {
  std::array<uint8_t, sizeof number> bytes;
  std::memcpy(bytes.data(), &number, sizeof number);
  return !std::ranges::search(code, bytes).empty();
}

// The constant, what an addition has that was its subtraction, and the halves of the wide one.
bool holds_constant(std::span<const uint8_t> code) {
  return holds(code, kConstant) || holds(code, -kConstant) ||
         holds(code, static_cast<uint32_t>(kWideConstant));
}

std::string expand(std::string text) {
  const auto replace = [&text](const std::string& name, const std::string& number) {
    for (size_t at = text.find(name); at != std::string::npos; at = text.find(name))
      text.replace(at, name.size(), number);
  };
  replace("WIDE", std::to_string(kWideConstant) + " ll");
  replace("C", std::to_string(kConstant));
  return text;
}

std::vector<std::string> programs_with_the_constant() {
  std::vector<std::string> out{"r0 = WIDE\nexit", "r0 = C ll\nexit",
                               "*(u32 *)(r10 - 8) = C\nr0 = *(u32 *)(r10 - 8)\nexit",
                               "*(u64 *)(r10 - 8) = C\nr0 = *(u64 *)(r10 - 8)\nexit",
                               "r2 = *(u64 *)(r1 + 0)\nr1 += r2\n*(u32 *)(r1 + 0) = C\nr0 = 0\nexit"};
  for (const char* op : {"+=", "-=", "*=", "/=", "s/=", "%=", "s%=", "&=", "|=", "^=", "="}) {
    for (const std::string reg : {"r", "w"}) {
      const std::string operation = std::string(op) + " C\n";
      out.push_back("r0 = *(u64 *)(r1 + 0)\n" + reg + "0 " + operation + "exit");
      out.push_back("r2 = *(u64 *)(r1 + 0)\nr0 = r2\n" + reg + "0 " + operation + "r0 ^= r2\nexit");
    }
  }
  for (const char* op : {"==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"}) {
    for (const std::string reg : {"r", "w"}) {
      const std::string jump = "if " + reg + "2 " + op + " C goto out\n";
      const std::string load = "r2 = *(u64 *)(r1 + 0)\nr0 = r2\n";
      out.push_back(load + jump + "r0 = *(u8 *)(r1 + 9)\nout:\nexit");
      out.push_back(load + jump + "r0 = C\nout:\nexit");  // a select
    }
  }
  out.emplace_back("r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr0 = r2\nr0 += r3\nr0 += C\nexit");
  out.emplace_back("r2 = *(u64 *)(r1 + 0)\nr2 += C\nr0 = *(u64 *)(r2 + 8)\nexit");
  out.emplace_back(
      "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr2 += r3\nr2 += C\nr0 = *(u64 *)(r2 + 8)\nexit");
  for (std::string& text : out) text = expand(std::move(text));
  return out;
}

TEST(Blinding, ConstantsAreNotInTheCode) {
  EnginePair plain({}, JitOptions{});
  EnginePair blinded({}, blinding());
  for (const std::string& text : programs_with_the_constant()) {
    SCOPED_TRACE(text);
    EXPECT_TRUE(holds_constant(code_of(*plain.load(text, PassSet::none()), Mode::kVerified)));
    for (const PassSet passes : {PassSet::none(), PassSet::all()}) {
      const auto program = blinded.load(text, passes);
      for (const Mode mode : kModes) EXPECT_FALSE(holds_constant(code_of(*program, mode)));
    }
  }
}

// Too few bytes to be looked for among all the others.
TEST(Blinding, NarrowStoresAreBlinded) {
  const auto stores = [](EnginePair& pair, const char* width, const char* number) {
    const auto program = pair.load(std::string("r0 = 0\n*(") + width + " *)(r1 + 0) = " + number + "\nexit");
    std::string text;
    for (const std::string& line :
         tools::disassemble_machine_code(std::as_bytes(code_of(*program, Mode::kVerified))))
      if (line.starts_with("mov ") && line.find("ptr [rdi], ") != std::string::npos) text += line;
    return text;
  };
  EnginePair plain({}, JitOptions{});
  EnginePair blinded({}, blinding());
  EXPECT_EQ(stores(plain, "u16", "0x5ead"), "mov word ptr [rdi], 0x5ead");
  EXPECT_EQ(stores(blinded, "u16", "0x5ead"), "mov word ptr [rdi], r10w");
  EXPECT_EQ(stores(plain, "u8", "0x5e"), "mov byte ptr [rdi], 0x5e");
  EXPECT_EQ(stores(blinded, "u8", "0x5e"), "mov byte ptr [rdi], r10b");
}

// The multiplier that the divisor became is the program's choice, too.
TEST(Blinding, MultipliersOfDivisionsAreBlinded) {
  EnginePair plain({}, JitOptions{});
  EnginePair blinded({}, blinding());
  const auto holds_multiplier = [](EnginePair& pair, const std::string& text) {
    const auto program = pair.load(text);
    const auto& operations = program->optimized(Mode::kVerified).instructions;
    const auto division = std::ranges::find_if(operations, [](const vm::LoweredInstruction& i) {
      return vm::is_fused(i.op) && vm::fused_row(i.op).kind == vm::Fused::kDivision;
    });
    EXPECT_NE(division, operations.end()) << text;
    return holds(code_of(*program, Mode::kVerified), division->imm);
  };
  for (const char* op : {"/=", "s/=", "%=", "s%="}) {
    const std::string text = std::string("r0 = *(u64 *)(r1 + 0)\nr0 ") + op + " 1000003\nexit";
    EXPECT_TRUE(holds_multiplier(plain, text)) << text;
    EXPECT_FALSE(holds_multiplier(blinded, text)) << text;
  }
}

TEST(Blinding, ResultsAreTheSame) {
  EnginePair pair({}, blinding());
  std::vector<std::byte> memory(32);
  memory[0] = std::byte{3};
  memory[5] = std::byte{77};
  memory[9] = std::byte{1};
  pair.set_memory(memory);
  EXPECT_EQ(pair.run_both(expand("r0 = WIDE\nexit")).r0, kWideConstant);
  for (const int64_t number : {1L, -1L, 0x7fffffffL, -0x80000000L}) {
    EXPECT_EQ(pair.run_both("r0 = " + std::to_string(number) + "\nexit").r0, static_cast<uint64_t>(number));
    EXPECT_EQ(pair.run_both("w0 = " + std::to_string(number) + "\nexit").r0, static_cast<uint32_t>(number));
  }
  for (const std::string& text : programs_with_the_constant()) pair.run_both(text);
}

TEST(Blinding, MachinesDiffer) {
  const auto code = [](const JitOptions& options) {
    EnginePair pair({}, options);
    const auto program = pair.load(expand("r0 = WIDE\nexit"));
    const auto bytes = code_of(*program, Mode::kVerified);
    return std::vector<uint8_t>(bytes.begin(), bytes.end());
  };
  EXPECT_NE(code(blinding(std::nullopt)), code(blinding(std::nullopt)));
  EXPECT_EQ(code(blinding()), code(blinding())) << "a seed fixes it";
  EXPECT_NE(code(blinding()), code(blinding(6)));
}

TEST(Blinding, AProgramsConstantsDifferFromEachOther) {
  EnginePair pair({}, blinding());
  const auto program = pair.load(expand("r0 = C\nr2 = C\nr0 ^= r2\nexit"), PassSet::none());
  std::vector<std::string> moves;
  for (const std::string& line :
       tools::disassemble_machine_code(std::as_bytes(code_of(*program, Mode::kVerified))))
    if (line.starts_with("mov e")) moves.push_back(line.substr(line.find(',')));
  ASSERT_GE(moves.size(), 2U);
  EXPECT_NE(moves[0], moves[1]);
}

class Retpolines : public testing::TestWithParam<bool> {
 protected:
  static std::vector<vm::HelperRow> helpers() {
    using enum vm::Argument;
    const auto seven = [](uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, vm::Cpu&) -> uint64_t {
      return 7;
    };
    return {{.id = 1, .name = "seven", .function = seven},
            {.id = 12,
             .name = "tail_call",
             .arguments = {kContext, kMap, kAnything},
             .special = vm::Special::kTailCall}};
  }
  static PassSet passes() {
    return GetParam() ? PassSet::all() : PassSet::all().without(vm::Pass::kKnownCalls);
  }
  static constexpr const char* kCaller =
      "r6 = r1\ncall 1\nr0 = *(u8 *)(r6 + 3)\nr1 = r6\nr2 = map_by_fd(0)\nr3 = 0\ncall 12\nr0 = 1\nexit";

  // Branches to what a register or memory says.
  static std::vector<std::string> indirect_branches(const vm::Program& program, Mode mode) {
    std::vector<std::string> found;
    for (const std::string& line : tools::disassemble_machine_code(std::as_bytes(code_of(program, mode)))) {
      const bool branch = line.starts_with("call ") || line.starts_with("jmp ");
      const bool direct = branch && std::isdigit(static_cast<unsigned char>(line[line.find(' ') + 1])) != 0;
      if (branch && !direct) found.push_back(line);
    }
    return found;
  }
  static int add_array(EnginePair& pair) {
    return pair.add_map({.type = BPF_MAP_TYPE_PROG_ARRAY,
                         .key_size = 4,
                         .value_size = 4,
                         .max_entries = 2,
                         .name = "programs"});
  }
};

TEST_P(Retpolines, NoBranchIsIndirect) {
  EnginePair plain(helpers(), JitOptions{});
  EnginePair hardened(helpers(), {.retpolines = true});
  add_array(plain);
  add_array(hardened);
  for (const Mode mode : kModes) {
    EXPECT_FALSE(indirect_branches(*plain.load(kCaller, passes()), mode).empty());
    const auto program = hardened.load(kCaller, passes());
    EXPECT_EQ(indirect_branches(*program, mode), std::vector<std::string>());
    const auto lines = tools::disassemble_machine_code(std::as_bytes(code_of(*program, mode)));
    EXPECT_EQ(std::ranges::count(lines, "lfence "), 2) << "a thunk for calls and one for jumps";
  }
}

TEST_P(Retpolines, TailCallsAndHelpersDoWhatTheyDid) {
  EnginePair pair(helpers(), {.retpolines = true});
  const int array = add_array(pair);
  const auto program = pair.load(kCaller, passes());
  const auto target = pair.load("r0 = 9\ncall 1\nr0 += 2\nexit");
  for (const Mode mode : kModes) EXPECT_EQ(pair.run_both(*program, mode).r0, 1U) << "nothing there";
  const maps::EpochDomain::TaskGuard guard(pair.machine().epochs());
  ASSERT_EQ(pair.map(array).set_object(0, target), 0);
  for (const Mode mode : kModes) EXPECT_EQ(pair.run_both(*program, mode).r0, 9U);
  pair.map(array).set_object(0, nullptr);
}

INSTANTIATE_TEST_SUITE_P(KnownCalls, Retpolines, testing::Bool());

// A machine whose CPUs have stacks with guards, or not; programs come from elsewhere.
std::unique_ptr<vm::Machine> machine(bool guard_pages) {
  return std::move(*vm::Machine::create({.cpus = 2, .seed = 1, .guard_pages = guard_pages}, {},
                                        vm::make_interpreter(), make_jit()));
}

uint64_t run_on(vm::Machine& machine, const vm::Program& program, EngineKind engine, Mode mode) {
  vm::Cpu& cpu = machine.cpu(1);
  const vm::CpuLock lock(cpu);
  const vm::RunResult result = vm::run_raw(cpu, program, {}, {.engine = engine, .mode = mode});
  return result.faulted ? ~uint64_t{0} : result.r0;
}

constexpr EngineKind kEngines[] = {EngineKind::kInterpreter, EngineKind::kJit};

TEST(GuardPages, ProgramsUseTheWholeStack) {
  EnginePair pair;
  // Seven frames more, each written at its end.
  std::string text = "r1 = 0\ncall f1\nexit\n";
  for (int n = 1; n <= 7; ++n) {
    text += "f" + std::to_string(n) + ":\nr6 = " + std::to_string(n) +
            "\n*(u64 *)(r10 - 512) = r6\n*(u64 *)(r10 - 8) = r6\n";
    if (n < 7) text += "call f" + std::to_string(n + 1) + "\n";
    text += n < 7 ? "" : "r0 = 0\n";
    text += "r1 = *(u64 *)(r10 - 512)\nr2 = *(u64 *)(r10 - 8)\nr0 += r1\nr0 += r2\nexit\n";
  }
  const auto program = pair.load(text);
  for (const bool guarded : {false, true}) {
    const auto with = machine(guarded);
    for (const EngineKind engine : kEngines)
      for (const Mode mode : kModes) EXPECT_EQ(run_on(*with, *program, engine, mode), 56U);
  }
}

TEST(GuardPagesDeathTest, LeavingTheStackEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EnginePair pair;
  const auto below = pair.load("*(u8 *)(r10 - 513) = 1\nr0 = 0\nexit");
  const auto above = pair.load("r0 = *(u8 *)(r10 + 3584)\nexit");
  const auto guarded = machine(true);
  for (const EngineKind engine : kEngines) {
    EXPECT_DEATH(run_on(*guarded, *below, engine, Mode::kVerified), "");
    EXPECT_DEATH(run_on(*guarded, *above, engine, Mode::kVerified), "");
    EXPECT_EQ(run_on(*guarded, *below, engine, Mode::kChecked), ~uint64_t{0}) << "a fault is no death";
  }
}

}  // namespace
}  // namespace skep::jit
