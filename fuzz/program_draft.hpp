#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "isa/instruction.hpp"

namespace skep::fuzz {

// A program being written, function after function. Where jumps and calls lead may be left to the end, when
// it is known what there is: an aim is any number, which then decides.
class ProgramDraft {
 public:
  void begin_function() { functions_.push_back({entries_.size(), entries_.size()}); }
  // Jumps that are aimed lead up to here.
  void end_body() { functions_.back().end = entries_.size(); }

  // The index of the instruction put next.
  size_t next() const { return entries_.size(); }
  void put(const isa::Instruction& i) { entries_.push_back({i, Target::kNone, 0}); }
  void put(isa::Op op, uint8_t dst, uint8_t src, int16_t off, int64_t imm) {
    put({op, dst, src, off, 0, imm});
  }
  // To an instruction of the same function; mostly a little forward.
  void put_jump(const isa::Instruction& i, uint64_t aim) { entries_.push_back({i, Target::kAim, aim}); }
  // To the instruction with an index, which may still be to come.
  void put_jump_to(const isa::Instruction& i, size_t index) {
    entries_.push_back({i, Target::kIndex, index});
  }
  void set_target(size_t jump, size_t index) { entries_[jump].target = index; }
  // A local call or the loading of a function's address: mostly of a later function, so that most calls end.
  void put_function(const isa::Instruction& i, uint64_t aim) {
    entries_.push_back({i, Target::kFunction, aim});
  }

  // Gives every instruction its slot, every jump its distance.
  std::vector<isa::Instruction> finish();

 private:
  enum class Target : uint8_t { kNone, kAim, kIndex, kFunction };
  struct Entry {
    isa::Instruction i;
    Target kind;
    uint64_t target;  // an aim or an index
  };
  struct Function {
    size_t begin;
    size_t end;
  };

  void resolve(size_t function, size_t n);
  void resolve_function(size_t function, Entry& entry);

  std::vector<Entry> entries_;
  std::vector<Function> functions_;
};

}  // namespace skep::fuzz
