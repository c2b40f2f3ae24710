#include "jit/code_pool.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <thread>
#include <vector>

#include "engine_pair.hpp"

namespace skep::jit {
namespace {

// mov eax, NUMBER; ret
std::vector<uint8_t> returns(uint32_t number) {
  return {0xb8,
          static_cast<uint8_t>(number),
          static_cast<uint8_t>(number >> 8),
          static_cast<uint8_t>(number >> 16),
          static_cast<uint8_t>(number >> 24),
          0xc3};
}

uint32_t run(const CodePool::Block& block) {
  return reinterpret_cast<uint32_t (*)()>(reinterpret_cast<uintptr_t>(block.bytes().data()))();
}

CodePool::Block make(CodePool& pool, uint32_t number, size_t size = 6) {
  CodePool::Block block = pool.allocate(size);
  std::vector<uint8_t> code = returns(number);
  code.resize(size, 0x90);
  block.write(code);
  return block;
}

class Pools : public testing::TestWithParam<CodePool::Storage> {
 protected:
  CodePool pool_{GetParam()};
};

TEST_P(Pools, HoldCode) {
  std::vector<CodePool::Block> blocks;
  for (uint32_t n = 0; n < 200; ++n) blocks.push_back(make(pool_, n * 1000, 6 + n));
  for (uint32_t n = 0; n < 200; ++n) EXPECT_EQ(run(blocks[n]), n * 1000);
}

TEST_P(Pools, HoldMoreThanAChunk) {
  const CodePool::Block large = make(pool_, 7, size_t{3} << 20);
  const CodePool::Block small = make(pool_, 8);
  EXPECT_EQ(run(large), 7u);
  EXPECT_EQ(run(small), 8u);
}

TEST_P(Pools, ServeManyThreads) {
  std::vector<std::thread> threads;
  std::array<unsigned, 4> wrong{};
  for (uint32_t thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      std::deque<CodePool::Block> mine;
      for (uint32_t n = 0; n < 300; ++n) {
        const uint32_t number = thread << 16 | n;
        mine.push_back(make(pool_, number, 6 + n % 5 * 100));
        wrong[thread] += run(mine.back()) != number;
        if (n % 3 == 2) mine.pop_front();
        wrong[thread] += run(mine.front()) >> 16 != thread;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, (std::array<unsigned, 4>{}));
}

INSTANTIATE_TEST_SUITE_P(OfBothKinds, Pools,
                         testing::Values(CodePool::Storage::kShared, CodePool::Storage::kPrivate));

TEST(SharedPools, GiveOutWhatIsFreeAgain) {
  CodePool pool;
  std::optional<CodePool::Block> first = make(pool, 1, 100);
  const CodePool::Block second = make(pool, 2, 100);
  const uint8_t* const place = first->bytes().data();
  EXPECT_EQ(second.bytes().data() - place, 128) << "two units";
  first.reset();
  EXPECT_TRUE(std::all_of(place, place + 128, [](uint8_t byte) { return byte == 0xcc; }));
  EXPECT_EQ(make(pool, 3, 60).bytes().data(), place);
  EXPECT_EQ(make(pool, 4, 128).bytes().data(), place) << "joined again";
  EXPECT_NE(make(pool, 5, 129).bytes().data(), place);
  EXPECT_EQ(pool.chunks(), 1u);
  EXPECT_EQ(run(second), 2u);
}

TEST(SharedPools, LetChunksGo) {
  CodePool pool;
  std::vector<CodePool::Block> blocks;
  for (uint32_t n = 0; n < 6; ++n) blocks.push_back(make(pool, n, size_t{100} << 10));
  EXPECT_EQ(pool.chunks(), 3u);
  blocks.clear();
  EXPECT_EQ(pool.chunks(), 1u);
}

// What `child` says of itself in its exit status, while the parent goes on.
template <class Child, class Parent>
int in_child(Child child, Parent parent) {
  std::array<int, 2> go{};
  EXPECT_EQ(pipe(go.data()), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    char byte = 0;
    if (read(go[0], &byte, 1) != 1) _exit(100);
    _exit(child());
  }
  parent();
  EXPECT_EQ(write(go[1], "", 1), 1);
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  close(go[0]);
  close(go[1]);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(SharedPools, KeepTheCodeThatAChildRuns) {
  CodePool pool;
  std::optional<CodePool::Block> block = make(pool, 42);
  std::optional<CodePool::Block> fresh;
  const int status = in_child([&] { return static_cast<int>(run(*block)); },
                              [&] {
                                block.reset();
                                fresh.emplace(make(pool, 7));
                              });
  EXPECT_EQ(status, 42) << "the parent has let it go, and made other code";
  EXPECT_EQ(run(*fresh), 7u);
}

TEST(SharedPools, KeepTheCodeThatAParentRuns) {
  CodePool pool;
  std::optional<CodePool::Block> block = make(pool, 42);
  const int status = in_child(
      [&] {
        block.reset();
        return static_cast<int>(run(make(pool, 7)));
      },
      [] {});
  EXPECT_EQ(status, 7);
  EXPECT_EQ(run(*block), 42u);
}

TEST(SharedPools, ProgramsRunInAChild) {
  EnginePair pair;
  const auto before = pair.load("r0 = 40\nexit");
  EXPECT_EQ(pair.run_both(*before).r0, 40u);
  const int status = in_child(
      [&] {
        const auto after = pair.load("r0 = 2\nexit");
        const auto r0 = [&](const vm::Program& program) {
          return pair.run(program, vm::EngineKind::kJit).r0;
        };
        return static_cast<int>(r0(*before) + r0(*after));
      },
      [] {});
  EXPECT_EQ(status, 42);
  EXPECT_EQ(pair.run_both(*before).r0, 40u);
}

}  // namespace
}  // namespace skep::jit
