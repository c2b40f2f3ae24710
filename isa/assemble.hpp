#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "isa/instruction.hpp"

namespace skep::isa {

// Where the text is wrong; line and column count from 1.
struct AssembleError {
  uint32_t line = 0;
  uint32_t column = 0;
  std::string message;
};

struct AssembleOptions {
  // The id of the helper with this name. `call NAME` calls the label NAME if there is one, else this helper.
  std::function<std::optional<int32_t>(std::string_view name)> helper_id;
};

// Reads the syntax disassemble() writes, the variants of it that llvm-objdump and bpftool write, and labels.
// One instruction stands on a line; any number of labels (`name:`) may stand before it. Comments run from
// `#`, `//` or `;` to the end of the line, or stand between `/*` and `*/`.
// - A jump leads to `+3`, `-3`, `3`, `pc+3` or a label; `<...>` after an offset is skipped.
// - Numbers are decimal, hexadecimal (0x) or binary (0b), with a sign or without. An immediate of 32 bits
// lies
//   between -2^31 and 2^32 - 1; what is above 2^31 - 1 stands for the negative number with the same bits.
// - `ld_pseudo r1, 1, 5`, llvm-objdump's spelling of a reference, is read too.
// - code_addr() takes a label as well.
// The result is what decode() makes of the same program: `slot` is set in each instruction.
std::expected<std::vector<Instruction>, AssembleError> assemble(std::string_view text,
                                                                const AssembleOptions& options = {});

}  // namespace skep::isa
