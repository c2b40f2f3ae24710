#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "skep/error.hpp"
#include "tools/packet_file.hpp"

namespace skep::tools {

// What a run came to, for contestants to be held against each other.
struct Observation {
  uint64_t return_value = 0;
  std::vector<std::byte> memory;  // the packet or memory after the run
};

// What an engine says of a program besides how long it runs.
struct EngineFacts {
  std::optional<uint64_t> compile_nanoseconds;
  std::optional<uint64_t> code_bytes;
};

// A program made ready to run by one engine, with state (maps) of its own. A pass runs it once on every
// input, in order.
class Contestant {
 public:
  virtual ~Contestant() = default;
  virtual const std::string& name() const = 0;
  // The smallest difference between two times of a run that its clock can show, in nanoseconds.
  virtual double resolution() const { return 0; }
  virtual EngineFacts facts() const { return {}; }

  // Runs it once. Errors: EINVAL: the input is none for this type of program; ECANCELED: the program faulted;
  // and what the system says.
  virtual Result<Observation> observe(const Packet& input) = 0;
  // Makes passes and returns the nanoseconds that all of them took.
  virtual Result<double> time(std::span<const Packet> inputs, uint64_t passes) = 0;
};

}  // namespace skep::tools
