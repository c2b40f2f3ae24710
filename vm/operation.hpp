#pragma once

#include <cstdint>

#include "isa/instruction.hpp"

// What the engines execute: every instruction of the ISA, and the operations that the passes make of several.
namespace skep::vm {

enum class Operation : uint16_t {
#define SKEP_ALU(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_JUMP(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_LOAD(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_STORE(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_ATOMIC(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_ORDERED(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_LDIMM(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_PACKET(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#define SKEP_CONTROL(name, ...) k##name = static_cast<uint16_t>(isa::Op::k##name),
#include "isa/instructions.def"
#define SKEP_ALU3(name, ...) k##name,
#define SKEP_ADDRESS(name, ...) k##name,
#define SKEP_ROTATE(name, ...) k##name,
#define SKEP_DIVISION(name, ...) k##name,
#define SKEP_LOAD_INDEXED(name, ...) k##name,
#define SKEP_LOAD_SWAPPED(name, ...) k##name,
#define SKEP_STORE_INDEXED(name, ...) k##name,
#define SKEP_STORE_SWAPPED(name, ...) k##name,
#define SKEP_JUMP_CLEAR(name, ...) k##name,
#define SKEP_SELECT_CLEAR(name, ...) k##name,
#define SKEP_SELECT(name, ...) k##name,
#include "vm/operations.def"
};

// How many of them are the ISA's, which come first.
inline constexpr uint16_t kIsaOperations = 0
#define SKEP_ALU(...) +1
#define SKEP_JUMP(...) +1
#define SKEP_LOAD(...) +1
#define SKEP_STORE(...) +1
#define SKEP_ATOMIC(...) +1
#define SKEP_ORDERED(...) +1
#define SKEP_LDIMM(...) +1
#define SKEP_PACKET(...) +1
#define SKEP_CONTROL(...) +1
#include "isa/instructions.def"
    ;

// How many there are in all.
inline constexpr uint16_t kOperations = kIsaOperations
#define SKEP_ALU3(...) +1
#define SKEP_ADDRESS(...) +1
#define SKEP_ROTATE(...) +1
#define SKEP_DIVISION(...) +1
#define SKEP_SELECT_CLEAR(...) +1
#define SKEP_LOAD_INDEXED(...) +1
#define SKEP_LOAD_SWAPPED(...) +1
#define SKEP_STORE_INDEXED(...) +1
#define SKEP_STORE_SWAPPED(...) +1
#define SKEP_JUMP_CLEAR(...) +1
#define SKEP_SELECT(...) +1
#include "vm/operations.def"
    ;

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

const FusedRow& fused_row(Operation op);

// Registers as operations see them: the ISA's, and one that reads as 0.
inline constexpr uint8_t kZeroRegister = isa::kRegisters;
inline constexpr unsigned kOperandRegisters = isa::kRegisters + 1;

}  // namespace skep::vm
