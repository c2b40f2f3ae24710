#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "isa/instruction.hpp"
#include "maps/map.hpp"
#include "skep/error.hpp"
#include "vm/helper.hpp"
#include "vm/operation.hpp"
#include "vm/program_type.hpp"

// From what BPF_PROG_LOAD gives to what the passes and engines work on: decoded, with every reference
// resolved.
namespace skep::vm {

class Program;
struct Subprogram;

// The kernel's MAX_CALL_FRAMES and MAX_BPF_STACK; MAX_TAIL_CALL_CNT; BPF_MAX_LOOPS.
inline constexpr unsigned kMaxFrames = 8;
inline constexpr unsigned kFrameSize = 512;
inline constexpr unsigned kMaxTailCalls = 33;
inline constexpr uint64_t kMaxLoops = 8 * 1024 * 1024;

// A call of a helper, as checked execution needs to know it.
struct CallSite {
  const HelperRow* helper = nullptr;  // nullptr: by register
  const Program* program = nullptr;
  uint32_t slot = 0;
};

// Registers as a set: bit n is register n.
using RegisterSet = uint16_t;
constexpr RegisterSet register_set(unsigned reg) { return static_cast<RegisterSet>(1U << reg); }

// An operation with everything resolved. Both engines execute these.
struct LoweredInstruction {
  Operation op;
  uint8_t dst = 0;
  uint8_t src = 0;
  uint8_t index = kZeroRegister;  // of fused operations, as operations.def says of each
  uint8_t scale = 0;
  RegisterSet live_after = 0x7ff;  // those that may be read later; a superset
  int32_t off = 0;  // local calls, once optimised: the set of registers that the callee may read
  uint32_t slot = 0;
  // jumps: the index to go on at; local calls: the index of the subprogram; helper calls: the place in
  // Code::known_calls plus 1, or 0
  uint32_t target = 0;
  uint32_t cost = 0;  // fuel of taking it: 0 for forward jumps
  uint64_t imm = 0;   // sign-extended immediate; the address of a map, map value, Subprogram or CallSite
};
static_assert(sizeof(LoweredInstruction) == 32);

// A helper call whose arguments are known so far that the engines can carry it out themselves: tail calls,
// and the helpers whose row names an intrinsic.
struct KnownCall {
  maps::Map* map = nullptr;              // tail calls: a program array; lookups, walks
  std::optional<uint32_t> index;         // tail calls: into the array, where that is known
  const Subprogram* callback = nullptr;  // loops, walks
};

// A program's operations as the engines get them, function after function in the order of its subprograms.
struct Code {
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
  };
  std::vector<LoweredInstruction> instructions;
  std::vector<Range> functions;
  std::vector<KnownCall> known_calls;

  // Of a helper call; nullptr: nothing is known.
  const KnownCall* known_call(const LoweredInstruction& i) const {
    return i.target == 0 ? nullptr : &known_calls[i.target - 1];
  }

  std::span<const LoweredInstruction> function(uint32_t index) const {
    return std::span(instructions)
        .subspan(functions[index].begin, functions[index].end - functions[index].begin);
  }
};

// A function of a program. Its address is what a callback pointer is in the running program.
struct Subprogram {
  const Program* program = nullptr;
  uint32_t index = 0;
  uint32_t begin = 0;  // instructions [begin, end) of the lowered code
  uint32_t end = 0;
  bool uses_may_goto = false;
  std::string name;

  uint32_t length() const { return end - begin; }
};

// Line information (struct bpf_line_info with its strings resolved).
struct SourceLine {
  uint32_t slot = 0;  // the first instruction it applies to
  std::string file;
  std::string text;
  uint32_t line = 0;
  uint32_t column = 0;
};

// What BPF_PROG_LOAD says of a program.
struct ProgramSpec {
  const ProgramType* type = nullptr;
  uint32_t expected_attach_type = 0;
  uint32_t flags = 0;
  std::string name;
  std::string license;
  std::vector<isa::Encoded> instructions;
  std::vector<SourceLine> lines;
  std::vector<std::pair<uint32_t, std::string>> function_names;  // slot, name
  bool gpl_compatible() const;
};

// The map an instruction refers to: by descriptor, or by its index in the load's fd_array. An error ends the
// load.
using MapResolver = std::function<Result<std::shared_ptr<maps::Map>>(int32_t value, bool is_index)>;

// A program's code, ready for the engines. Instructions point into subprograms and call_sites, so it stays in
// place.
struct Lowered {
  std::vector<isa::Instruction> decoded;
  std::vector<LoweredInstruction> code;  // index for index with decoded
  std::vector<Subprogram> subprograms;   // the first is the program's entry
  std::vector<CallSite> call_sites;
  std::vector<std::shared_ptr<maps::Map>> maps;  // each once
  // A function other than the entry ends in another program, which then returns into this one.
  bool functions_tail_call = false;
  // A helper that it calls asks which calls led there.
  bool walks_stack = false;
};

// Refuses what cannot be executed at all: undecodable instructions, jumps out of a function, a missing exit,
// unknown helpers, maps or kernel functions, maps given to helpers that do not take them. The message is what
// the load log says, the code what the kernel returns. `program` is what the code's subprograms and call
// sites will belong to.
Result<Lowered> lower(const ProgramSpec& spec, const HelperTable& helpers, const MapResolver& resolve_map,
                      const Program& program);

}  // namespace skep::vm
