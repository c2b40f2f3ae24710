#pragma once

#include "vm/interpreter/step.hpp"

namespace skep::vm::interpreter {

// How an operation is executed: as in verified mode, or with its checks (memory) and its charge (jumps).
struct Treatment {
  Operation op;
  bool checked;
};

// What an operation does to memory; bytes == 0: nothing.
struct AccessKind {
  uint8_t bytes = 0;
  bool write = false;
  bool aligned = false;  // misaligned addresses are a fault
};
AccessKind access_kind(Operation op);

// The handler of one operation. Of helper calls: see the site.
Handler handler(Treatment treatment);
// The handler of an operation and the one that follows it, or nullptr: there is none.
Handler pair_handler(Treatment first, Treatment second);

}  // namespace skep::vm::interpreter
