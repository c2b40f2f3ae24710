#pragma once

#include <cstddef>
#include <cstdint>

#include "maps/map.hpp"
#include "vm/interpreter/step.hpp"

// Handlers of calls whose arguments are known (vm::KnownCall). They do what the helpers' functions and
// vm::tail_call_target() do; what they cannot do goes the ordinary way.
namespace skep::vm::interpreter {

// A lookup in a map that is known: imm of its step.
struct Lookup {
  maps::Map* map;
  maps::Map::LookupFunction function;  // of maps without a layout
  maps::ArrayLayout layout;
  const CallSite* site;
  uint32_t entries;
  uint32_t key_size;
  uint32_t value_size;
  bool writable;  // by the program
};

struct KnownHandlers {
  Handler processor_id;
  // imm: the Lookup; helper: the ordinary way in.
  Handler lookup_in_array;
  Handler lookup_by_function;
  // bpf_loop is two steps, so that the callback runs as any function of the program does. The first stands
  // where the call is and has the second's address in imm; the callback returns to the second, which stands
  // apart: imm is the callback's first step, off leads behind the call, and the charge is what a turn costs.
  Handler begin_loop;
  Handler next_turn;
  // imm: the slot that a constant index chooses, or the array's first; charge.slot: the call's; charge.cost:
  // how many slots there are.
  Handler tail_call;
  Handler tail_call_indexed;
  Handler no_tail_call;  // of an index outside the array
};
const KnownHandlers& known_handlers(Mode mode);

}  // namespace skep::vm::interpreter
