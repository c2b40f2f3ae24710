#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "isa/instruction.hpp"
#include "maps/map.hpp"
#include "skep/error.hpp"
#include "vm/helper.hpp"
#include "vm/program_type.hpp"

// From what BPF_PROG_LOAD gives to what the engines execute: decoded, with every reference resolved.
namespace skep::vm {

class Program;

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

// A decoded instruction with everything resolved. Both engines execute these.
struct LoweredInstruction {
  isa::Op op;
  uint8_t dst;
  uint8_t src;
  int16_t off;
  uint32_t slot;
  uint32_t target;  // jumps: the index to go on at; local calls: the index of the subprogram
  uint32_t cost;    // fuel of taking it: 0 for forward jumps
  uint64_t imm;     // sign-extended immediate; the address of a map, map value, Subprogram or CallSite
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
};

// Refuses what cannot be executed at all: undecodable instructions, jumps out of a function, a missing exit,
// unknown helpers, maps or kernel functions. The message is what the load log says, the code what the kernel
// returns. `program` is what the code's subprograms and call sites will belong to.
Result<Lowered> lower(const ProgramSpec& spec, const HelperTable& helpers, const MapResolver& resolve_map,
                      const Program& program);

}  // namespace skep::vm
