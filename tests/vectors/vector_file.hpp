#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "isa/instruction.hpp"

// Instruction vectors: small programs with the results the specification demands. README.md describes the
// files.
namespace skep::vectors {

enum class Fault : uint8_t { kMemory, kFuel, kCallDepth, kBadCall };

struct Vector {
  std::string name;
  uint32_t line = 0;  // of its `test` line
  std::vector<isa::Op> covers;
  std::optional<std::vector<uint8_t>> memory;  // absent: the program runs with r1 = 0 and r2 = 0
  std::vector<isa::Encoded> program;
  std::optional<uint64_t> fuel;  // instructions the run needs, where that is many
  // Exactly one of result and fault is there.
  std::optional<uint64_t> result;
  std::optional<Fault> fault;
  std::optional<std::vector<uint8_t>> memory_after;
};

struct VectorError {
  uint32_t line = 0;
  std::string message;
};

std::expected<std::vector<Vector>, VectorError> parse(std::string_view text);
// An unreadable file is an error at line 0.
std::expected<std::vector<Vector>, VectorError> parse_file(const std::string& path);
// The paths of all vector files, sorted.
std::vector<std::string> files();

}  // namespace skep::vectors
