#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "isa/instruction.hpp"

// What the engines execute: every instruction of the ISA, and the operations that the passes make of several.
namespace skep::vm {

enum class Operation : uint16_t {
#define SKEP_INSTRUCTION(name) k##name = static_cast<uint16_t>(isa::Op::k##name),
#include "isa/instructions.def"
#define SKEP_FUSED(name) k##name,
#include "vm/operations.def"
};

// Those that passes make: they come after the ISA's.
inline constexpr auto kFusedOperations = std::to_array<Operation>({
#define SKEP_FUSED(name) Operation::k##name,
#include "vm/operations.def"
});
inline constexpr auto kIsaOperations = static_cast<uint16_t>(isa::kOps.size());
inline constexpr auto kOperations = static_cast<uint16_t>(kIsaOperations + kFusedOperations.size());

constexpr Operation operation(isa::Op op) { return static_cast<Operation>(op); }
constexpr bool is_fused(Operation op) { return static_cast<uint16_t>(op) >= kIsaOperations; }
// Of an operation that is not fused.
constexpr isa::Op isa_op(Operation op) { return static_cast<isa::Op>(op); }

// Which part of operations.def a row stands in; kIsa: of the ISA's table.
enum class Fused : uint8_t {
  kIsa,
  kAlu3,
  kAddress,
  kRotate,
  kDivision,
  kLoadIndexed,
  kLoadSwapped,
  kStoreIndexed,
  kStoreSwapped,
  kJumpClear,
  kSelectClear,
  kSelect,
};

// A row of operations.def.
struct FusedRow {
  const char* name;
  Fused kind;
  uint8_t width;
  uint8_t operation;  // AluOp, Sign or Condition, by kind
  isa::Source source;

  constexpr isa::AluOp alu() const { return static_cast<isa::AluOp>(operation); }
  constexpr isa::Condition condition() const { return static_cast<isa::Condition>(operation); }
  constexpr bool is_signed() const { return static_cast<isa::Sign>(operation) == isa::Sign::kSigned; }
};

// The rows of operations.def, in its order.
extern const FusedRow kFusedRows[];
inline const FusedRow& fused_row(Operation op) {
  return kFusedRows[static_cast<size_t>(op) - kIsaOperations];
}

// Registers as operations see them: the ISA's, and one that reads as 0.
inline constexpr uint8_t kZeroRegister = isa::kRegisters;
inline constexpr unsigned kOperandRegisters = isa::kRegisters + 1;

}  // namespace skep::vm
