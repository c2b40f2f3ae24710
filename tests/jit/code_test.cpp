#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <thread>

#include "engine_pair.hpp"
#include "vm/interpreter.hpp"

namespace skep::jit {
namespace {

using vm::EngineKind;
using vm::Mode;

struct Mapping {
  uintptr_t begin;
  uintptr_t end;
  std::string permissions;
};

std::vector<Mapping> mappings() {
  std::ifstream file("/proc/self/maps");
  std::vector<Mapping> out;
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find('-');
    const size_t space = line.find(' ');
    out.push_back({std::stoull(line.substr(0, dash), nullptr, 16),
                   std::stoull(line.substr(dash + 1, space - dash - 1), nullptr, 16),
                   line.substr(space + 1, 4)});
  }
  return out;
}

std::string permissions_at(const void* address) {
  for (const Mapping& mapping : mappings())
    if (const auto at = reinterpret_cast<uintptr_t>(address); mapping.begin <= at && at < mapping.end)
      return mapping.permissions;
  return "";
}

constexpr const char* kLoop = "r0 = 0\nr2 = 7 ll\nagain:\nr0 += 1\nif r0 < 10 goto again\nexit";

TEST(Code, IsNeverWritableAndExecutable) {
  EnginePair pair;
  const auto program = pair.load(kLoop);
  for (const Mode mode : kModes) {
    const auto code = program->executable(EngineKind::kJit, mode).machine_code();
    ASSERT_FALSE(code.empty());
    EXPECT_EQ(permissions_at(code.data()).substr(0, 3), "r-x");
  }
  for (const Mapping& mapping : mappings())
    EXPECT_FALSE(mapping.permissions[1] == 'w' && mapping.permissions[2] == 'x')
        << std::hex << mapping.begin << " " << mapping.permissions;
}

TEST(Code, GoesWithTheProgram) {
  EnginePair pair;
  auto program = pair.load(kLoop);
  const auto code = program->executable(EngineKind::kJit, Mode::kChecked).machine_code();
  program.reset();
  EXPECT_EQ(permissions_at(code.data()).substr(0, 3), "r-x");
  EXPECT_TRUE(std::ranges::all_of(code, [](uint8_t byte) { return byte == 0xcc; })) << "int3";
}

TEST(Code, InPagesOfItsOwnGoesWithTheProgram) {
  EnginePair pair({}, {.use_memory_file = false});
  auto program = pair.load(kLoop);
  EXPECT_EQ(pair.run_both(*program).r0, 10u);
  const void* code = program->executable(EngineKind::kJit, Mode::kChecked).machine_code().data();
  EXPECT_EQ(permissions_at(code), "r-xp");
  program.reset();
  EXPECT_NE(permissions_at(code), "r-xp");
}

TEST(Code, OffsetsOfInstructions) {
  EnginePair pair({}, JitOptions{});
  // Of the immediate something is made: what nobody reads, or what is known, has no code.
  const auto program = pair.load("r0 = 0\nr2 = 7 ll\nagain:\nr0 += 1\nif r0 < 10 goto again\nr0 ^= r2\nexit",
                                 vm::PassSet::none());
  const vm::Executable& executable = program->executable(EngineKind::kJit, Mode::kVerified);
  const auto code = executable.machine_code();
  const auto offsets = executable.instruction_offsets();
  ASSERT_EQ(offsets.size(), 6u);
  EXPECT_TRUE(std::ranges::is_sorted(offsets));
  EXPECT_LT(offsets.back(), code.size());
  // xor eax, eax; mov esi, 7; add rax, 1; cmp rax, 10
  const auto bytes = [&](size_t n) {
    return std::vector<uint8_t>(code.begin() + offsets[n], code.begin() + offsets[n + 1]);
  };
  EXPECT_EQ(bytes(0), (std::vector<uint8_t>{0x31, 0xc0}));
  EXPECT_EQ(bytes(1), (std::vector<uint8_t>{0xbe, 7, 0, 0, 0}));
  EXPECT_EQ(bytes(2), (std::vector<uint8_t>{0x48, 0x83, 0xc0, 1}));
}

// Generated code addresses the CPU's fields by their offsets in the base.
TEST(Code, TheCpuBeginsWithItsRunState) {
  EnginePair pair;
  EXPECT_EQ(static_cast<void*>(&pair.cpu()), static_cast<void*>(&pair.cpu().run()));
}

TEST(Code, LongJumps) {
  std::string text = "r0 = 0\nr1 = 3\nagain:\nif r1 == 0 goto out\nr1 += -1\n";
  for (int n = 0; n < 20'000; ++n) text += "r0 += 1\n";
  EnginePair pair;
  EXPECT_EQ(pair.run_both(text + "gotol again\nout:\nexit").r0, 60'000u);
}

TEST(Code, ManyThreadsPrepareAndRunOneProgram) {
  auto machine =
      std::move(*vm::Machine::create({.cpus = 4, .seed = 1}, {}, vm::make_interpreter(), make_jit()));
  EnginePair pair;
  const auto program = pair.load(kLoop);
  std::vector<std::thread> threads;
  std::array<uint64_t, 4> results{};
  threads.reserve(results.size());
  for (unsigned n = 0; n < 4; ++n)
    threads.emplace_back([&, n] {
      vm::Cpu& cpu = machine->cpu(n);
      const vm::CpuLock lock(cpu);
      for (int turn = 0; turn < 100; ++turn)
        results[n] += vm::run_raw(cpu, *program, {}, {.engine = EngineKind::kJit}).r0;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(results, (std::array<uint64_t, 4>{1000, 1000, 1000, 1000}));
}

}  // namespace
}  // namespace skep::jit
