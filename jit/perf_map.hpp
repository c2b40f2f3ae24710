#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "jit/code_symbols.hpp"

namespace skep::jit {

// The file that perf(1) reads the names of generated code from, /tmp/perf-PID.map, a line "START SIZE name"
// each, numbers in hexadecimal: tools/perf/Documentation/jit-interface.txt. Other writers of the process may
// append to it, too; nothing is ever taken back. Thread-safe.
class PerfMap {
 public:
  // `warn` gets why the file cannot be written, once; may be empty.
  explicit PerfMap(std::function<void(const std::string&)> warn) : warn_(std::move(warn)) {}

  void add(std::span<const uint8_t> code, std::span<const CodeSymbol> symbols);

 private:
  void complain(const std::string& path, const std::string& cause);

  std::function<void(const std::string&)> warn_;
  std::atomic<bool> complained_ = false;
};

}  // namespace skep::jit
