// Program::runner(): many runs of one program on one CPU, through the public API.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <span>
#include <string>
#include <thread>

#include "isa/assemble.hpp"
#include "skep/machine.hpp"

namespace skep {
namespace {

struct Loaded {
  Machine machine;
  Program program;
};

// Bare instructions as a program of a type.
Loaded load(std::string_view text, Engine engine, Mode mode, const std::string& type = "raw") {
  const auto assembled = isa::assemble(text);
  EXPECT_TRUE(assembled.has_value());
  const auto code = isa::encode(*assembled);
  auto machine = Machine::create({.cpus = 2, .engine = engine, .mode = mode, .fuel = 1000});
  auto object = machine->open(std::as_bytes(std::span(code)),
                              {.type = type, .program = {}, .kernel_btf = {}, .name = {}});
  EXPECT_TRUE(object.has_value());
  const auto loaded = object->load();
  EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
  return {*machine, *object->program(object->programs().front().name)};
}

using Choice = std::tuple<Engine, Mode>;

class RunnerTest : public testing::TestWithParam<Choice> {
 protected:
  static Loaded load(std::string_view text, const std::string& type = "raw") {
    return skep::load(text, std::get<0>(GetParam()), std::get<1>(GetParam()), type);
  }
};

constexpr std::string_view kCount = R"(
    r0 = *(u64 *)(r1 + 0)
    r0 += 1
    *(u64 *)(r1 + 0) = r0
    exit)";

TEST_P(RunnerTest, EveryRunSeesTheMemoryAsTheLastLeftIt) {
  const Loaded loaded = load(kCount);
  auto runner = loaded.program.runner(1);
  ASSERT_TRUE(runner.has_value());
  std::array<uint64_t, 1> memory{40};
  EXPECT_EQ(runner->run_in_place(std::as_writable_bytes(std::span(memory))).return_value, 41U);
  const RunOutcome second = runner->run_in_place(std::as_writable_bytes(std::span(memory)));
  EXPECT_EQ(second.return_value, 42U);
  EXPECT_FALSE(second.faulted);
  EXPECT_FALSE(runner->fault().has_value());
  EXPECT_EQ(memory[0], 42U);
}

TEST_P(RunnerTest, RunCopiesItsInput) {
  const Loaded loaded = load(kCount);
  auto runner = loaded.program.runner(0);
  ASSERT_TRUE(runner.has_value());
  const std::array<uint64_t, 1> memory{7};
  for (unsigned n = 0; n < 2; ++n) {
    const auto outcome = runner->run({.data = std::as_bytes(std::span(memory))});
    ASSERT_TRUE(outcome.has_value());
    EXPECT_EQ(outcome->return_value, 8U);
  }
  EXPECT_EQ(memory[0], 7U);
  ASSERT_EQ(runner->output().size(), 8U);
  EXPECT_EQ(runner->output()[0], std::byte{8});
}

TEST_P(RunnerTest, AHeldCpuIsRefusedUntilTheRunnersEnd) {
  const Loaded loaded = load("r0 = 3\nexit");
  {
    auto runner = loaded.program.runner(0);
    ASSERT_TRUE(runner.has_value());
    EXPECT_EQ(loaded.program.runner(0).error().code, EBUSY);
    EXPECT_EQ(loaded.program.run_in_place(0, {}).error().code, EBUSY);
    EXPECT_EQ(loaded.program.run(0, {}).error().code, EBUSY);
    EXPECT_TRUE(loaded.program.run_in_place(1, {}).has_value()) << "the other CPU is free";
    Runner moved = std::move(*runner);
    EXPECT_EQ(moved.run_in_place({}).return_value, 3U);
    EXPECT_EQ(loaded.program.runner(0).error().code, EBUSY);
  }
  EXPECT_EQ(loaded.program.run_in_place(0, {})->return_value, 3U);
  EXPECT_TRUE(loaded.program.runner(0).has_value());
}

TEST_P(RunnerTest, NoSuchCpu) { EXPECT_EQ(load("r0 = 0\nexit").program.runner(2).error().code, EINVAL); }

TEST_P(RunnerTest, PacketsAreRunAsProgramRunDoes) {
  // Returns the packet's length and writes its first byte.
  const Loaded loaded = load(R"(
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r0 = r3
    r0 -= r2
    r4 = r2
    r4 += 1
    if r4 > r3 goto out
    *(u8 *)(r2 + 0) = 0x5a
  out:
    exit)",
                             "xdp");
  auto runner = loaded.program.runner(0);
  ASSERT_TRUE(runner.has_value());
  const std::array<std::byte, 60> packet{};
  const auto outcome = runner->run({.data = packet});
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->return_value, 60U);
  ASSERT_EQ(runner->output().size(), 60U);
  EXPECT_EQ(runner->output()[0], std::byte{0x5a});
  EXPECT_EQ(runner->run({.data = std::span(packet).first(13)}).error().code, EINVAL);

  const RunOutcome refused = runner->run_in_place({});
  EXPECT_TRUE(refused.faulted);
  ASSERT_TRUE(runner->fault().has_value());
  EXPECT_EQ(runner->fault()->kind, "bad-call");
  EXPECT_FALSE(runner->run({.data = packet})->faulted) << "the CPU is as good as new";
}

// The Runner lives in one thread and ends in another; other threads run and ask meanwhile.
TEST_P(RunnerTest, MovesBetweenThreads) {
  const Loaded loaded = load(kCount);
  std::array<uint64_t, 1> memory{0};
  auto runner = loaded.program.runner(0);
  ASSERT_TRUE(runner.has_value());
  std::jthread other([&] {
    std::array<uint64_t, 1> own{0};
    for (unsigned n = 0; n < 100; ++n) {
      EXPECT_EQ(loaded.program.runner(0).error().code, EBUSY);
      EXPECT_TRUE(loaded.program.run_in_place(1, std::as_writable_bytes(std::span(own))).has_value());
    }
  });
  std::jthread([&] {
    for (unsigned n = 0; n < 100; ++n) runner->run_in_place(std::as_writable_bytes(std::span(memory)));
  }).join();
  EXPECT_EQ(runner->run_in_place(std::as_writable_bytes(std::span(memory))).return_value, 101U);
  other.join();
  std::jthread([gone = std::move(*runner)] {}).join();
  EXPECT_TRUE(loaded.program.runner(0).has_value());
}

INSTANTIATE_TEST_SUITE_P(Engines, RunnerTest,
                         testing::Combine(testing::Values(Engine::kInterpreter, Engine::kJit),
                                          testing::Values(Mode::kChecked, Mode::kVerified)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) == Engine::kJit ? "Jit"
                                                                                      : "Interpreter") +
                                  (std::get<1>(info.param) == Mode::kChecked ? "Checked" : "Verified");
                         });

TEST(RunnerFault, IsToldOnceAndEachRunHasItsOwnFuel) {
  for (const Engine engine : {Engine::kInterpreter, Engine::kJit}) {
    const Loaded loaded = load(R"(
      r0 = *(u64 *)(r1 + 0)
    again:
      r0 += -1
      if r0 != 0 goto again
      exit)",
                               engine, Mode::kChecked);
    auto runner = loaded.program.runner(0);
    ASSERT_TRUE(runner.has_value());
    std::array<uint64_t, 1> times{
        400};  // two instructions of 1000 each time: once is within the fuel, twice not
    const auto memory = std::as_writable_bytes(std::span(times));
    EXPECT_FALSE(runner->run_in_place(memory).faulted);
    EXPECT_FALSE(runner->run_in_place(memory).faulted);
    times[0] = 0;
    EXPECT_TRUE(runner->run_in_place(memory).faulted);
    EXPECT_EQ(runner->fault()->kind, "fuel");
    EXPECT_TRUE(runner->run_in_place({}).faulted);
    EXPECT_EQ(runner->fault()->kind, "memory");
    times[0] = 400;
    EXPECT_FALSE(runner->run_in_place(memory).faulted);
    EXPECT_FALSE(runner->fault().has_value());
  }
}

}  // namespace
}  // namespace skep
