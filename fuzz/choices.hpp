#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vm/random.hpp"

namespace skep::fuzz {

// Where a generator takes its decisions from.
class Choices {
 public:
  virtual ~Choices() = default;

  // What follows decides one step of the program, such as one instruction.
  virtual void begin_step() {}
  virtual uint64_t below(uint64_t bound) = 0;  // bound > 0
  virtual uint64_t word() = 0;                 // any 64 bits
  // How many steps to take, of about `usual`.
  virtual uint64_t steps(uint64_t usual) = 0;

  bool percent(unsigned chance) { return below(100) < chance; }
};

// Pseudo-random ones: a seed fixes all of them.
class RandomChoices final : public Choices {
 public:
  explicit RandomChoices(uint64_t seed) : random_(seed) {}

  uint64_t below(uint64_t bound) override { return random_.next() % bound; }
  uint64_t word() override { return random_.next(); }
  uint64_t steps(uint64_t usual) override { return 1 + below(2 * usual); }

 private:
  vm::Random random_;
};

// A fuzzer's bytes. Each step has 16 bytes of its own, so that changing one byte changes one step; a step
// that needs more goes on with numbers that its own bytes fix. Any bytes decide something.
class ByteChoices final : public Choices {
 public:
  static constexpr size_t kStep = 16;

  explicit ByteChoices(std::span<const uint8_t> bytes) : rest_(bytes), more_(0) { begin_step(); }

  void begin_step() override;
  uint64_t below(uint64_t bound) override;
  uint64_t word() override { return take(8); }
  uint64_t steps(uint64_t usual) override;

 private:
  uint64_t take(size_t bytes);

  std::span<const uint8_t> rest_;
  std::span<const uint8_t> step_;
  vm::Random more_;
};

}  // namespace skep::fuzz
