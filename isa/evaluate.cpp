#include "isa/evaluate.hpp"

#include <type_traits>

#include "isa/arithmetic.hpp"

namespace skep::isa {
namespace {

template <unsigned width>
using Unsigned = std::conditional_t<width == 32, uint32_t, uint64_t>;

}  // namespace

uint64_t evaluate(Op op, uint64_t dst, uint64_t operand) {
  switch (static_cast<unsigned>(op)) {
#define SKEP_ALU(name, opcode, key, value, operation, width, ...) \
  case static_cast<unsigned>(Op::k##name):                        \
    return alu<AluOp::k##operation>(static_cast<Unsigned<width>>(dst), static_cast<Unsigned<width>>(operand));
#include "isa/instructions.def"
    default:
      return 0;
  }
}

bool is_taken(Op op, uint64_t dst, uint64_t operand) {
  switch (static_cast<unsigned>(op)) {
#define SKEP_JUMP(name, opcode, condition, width, ...)                       \
  case static_cast<unsigned>(Op::k##name):                                   \
    return holds<Condition::k##condition>(static_cast<Unsigned<width>>(dst), \
                                          static_cast<Unsigned<width>>(operand));
#include "isa/instructions.def"
    default:
      return false;
  }
}

}  // namespace skep::isa
