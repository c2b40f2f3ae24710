#pragma once

#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "isa/instruction.hpp"

// Programs as hexadecimal text and back, for tests.
namespace skep::isa {

inline std::vector<Encoded> program_of(const std::string& hex) {
  std::istringstream in(hex);
  std::vector<uint8_t> bytes;
  for (unsigned byte = 0; in >> std::hex >> byte;) bytes.push_back(static_cast<uint8_t>(byte));
  std::vector<Encoded> program(bytes.size() / sizeof(Encoded));
  if (!program.empty()) std::memcpy(program.data(), bytes.data(), program.size() * sizeof(Encoded));
  return program;
}

inline std::string hex_of(const std::vector<Encoded>& program) {
  std::string out;
  for (const Encoded& e : program) {
    uint8_t bytes[sizeof e];
    std::memcpy(bytes, &e, sizeof e);
    for (const uint8_t b : bytes) {
      if (!out.empty()) out += ' ';
      out += "0123456789abcdef"[b >> 4];
      out += "0123456789abcdef"[b & 0xf];
    }
  }
  return out;
}

}  // namespace skep::isa
