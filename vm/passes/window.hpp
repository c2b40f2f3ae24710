#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "vm/lowering.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {

// What a walk through the operations knows of the basic block it is in: who wrote each register last, and who
// read it. Rules that fold an operation into a later one ask it whether nobody would notice.
class Window {
 public:
  // A version of a register: 0 is what it held when the block began, n + 1 what operation n wrote to it.
  using Version = uint32_t;

  explicit Window(Code& code)
      : code_(code), marks_(code.instructions.size()), before_(code.instructions.size()) {}

  LoweredInstruction& at(uint32_t n) { return code_.instructions[n]; }
  void begin_block(uint32_t n);
  uint32_t block() const { return block_; }  // its first operation
  // To be called with each operation in turn, after the rules have seen it.
  void pass(uint32_t n);

  // The operation that computed what a register holds now, if it is in this block, does nothing else and
  // nobody has read the register since.
  std::optional<uint32_t> producer(uint8_t reg) const;
  // The operation that wrote the register, whatever else it does, if nobody has read it since.
  std::optional<uint32_t> writer(uint8_t reg) const;
  // Like producer(), for a register that operation `reader` reads and nobody does later.
  std::optional<uint32_t> sole_producer(uint8_t reg, uint32_t reader) const;
  // Whether a register holds what it held when operation n ran, supposing that n goes.
  bool holds_since(uint8_t reg, uint32_t n) const;
  // What a register held before operation n.
  Version version_before(uint8_t reg, uint32_t n) const;
  // What it would hold before the operation being looked at, were operations a and b gone.
  Version version_without(uint8_t reg, uint32_t a, uint32_t b) const;
  // Nobody reads what the register holds before operation n once n is done.
  bool dies_at(uint8_t reg, uint32_t n) const;

  void remove(uint32_t n);
  // Operation `to` will read what the register has held since `from`.
  void extend(uint8_t reg, uint32_t from, uint32_t to);

  const std::vector<uint8_t>& marks() const { return marks_; }

 private:
  void pass_any(uint32_t n);

  Code& code_;
  uint32_t block_ = 0;
  std::vector<uint8_t> marks_;   // of removed operations
  std::vector<Version> before_;  // of the register an operation writes, before that
  std::array<Version, kOperandRegisters> written_{};
  std::array<uint32_t, kOperandRegisters> read_{};  // last reader + 1
};

}  // namespace skep::vm
