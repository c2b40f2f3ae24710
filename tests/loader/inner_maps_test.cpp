// Maps of maps whose values stand in the source: libbpf creates the inner maps and puts them in.
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "skep/machine.hpp"

namespace skep {
namespace {

class InnerMaps : public testing::TestWithParam<std::tuple<Engine, Mode>> {};

uint64_t element(const Object& object, const std::string& map, uint32_t index) {
  const auto found = object.map(map);
  if (!found) return UINT64_MAX;
  const auto bytes = found->lookup(std::as_bytes(std::span(&index, 1)));
  if (!bytes || bytes->size() != sizeof(uint64_t)) return UINT64_MAX;
  uint64_t value = 0;
  std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

TEST_P(InnerMaps, ProgramsFindWhatTheSourceSays) {
  const auto [engine, mode] = GetParam();
  const auto machine = Machine::create({.cpus = 1, .engine = engine, .mode = mode});
  ASSERT_TRUE(machine.has_value());
  const auto object = machine->open(SKEP_BPF_DIR "/inner_maps.bpf.o");
  ASSERT_TRUE(object.has_value()) << object.error().message;
  const auto loaded = object->load();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  const std::array<std::byte, 64> packet{};
  const auto run = [&](const char* name) {
    const auto program = object->program(name);
    ASSERT_TRUE(program.has_value());
    const auto result = program->run(0, {.data = packet});
    ASSERT_TRUE(result.has_value()) << result.error().message;
    ASSERT_FALSE(result->fault.has_value()) << result->fault->message;
    EXPECT_EQ(result->return_value, 2U);
  };
  for (int round = 0; round < 2; ++round) run("count");
  EXPECT_EQ(element(*object, "first", 1), 2U);
  EXPECT_EQ(element(*object, "first", 0), 20U);
  EXPECT_EQ(element(*object, "second", 1), 6U);
  EXPECT_EQ(element(*object, "second", 0), 60U);
  for (int round = 0; round < 2; ++round) run("count_by_key");
  EXPECT_EQ(element(*object, "first", 1), 202U);
  EXPECT_EQ(element(*object, "second", 1), 606U);
}

INSTANTIATE_TEST_SUITE_P(Each, InnerMaps,
                         testing::Combine(testing::Values(Engine::kInterpreter, Engine::kJit),
                                          testing::Values(Mode::kChecked, Mode::kVerified)));

}  // namespace
}  // namespace skep
