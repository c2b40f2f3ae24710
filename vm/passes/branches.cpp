#include "vm/passes/branches.hpp"

namespace skep::vm {

// In each form of the two conditions, one becomes the other and back.
#define SKEP_EACH_FORM(a, b)               \
  case static_cast<uint16_t>(k##a##64Imm): \
    return k##b##64Imm;                    \
  case static_cast<uint16_t>(k##a##64Reg): \
    return k##b##64Reg;                    \
  case static_cast<uint16_t>(k##a##32Imm): \
    return k##b##32Imm;                    \
  case static_cast<uint16_t>(k##a##32Reg): \
    return k##b##32Reg;
#define SKEP_PAIR(a, b) SKEP_EACH_FORM(a, b) SKEP_EACH_FORM(b, a)

std::optional<Operation> negated_jump(Operation jump) {
  using enum Operation;
  switch (static_cast<uint16_t>(jump)) {
    SKEP_PAIR(Jeq, Jne)
    SKEP_PAIR(Jgt, Jle)
    SKEP_PAIR(Jge, Jlt)
    SKEP_PAIR(Jsgt, Jsle)
    SKEP_PAIR(Jsge, Jslt)
    SKEP_PAIR(Jset, Jclear)
    default:
      return std::nullopt;
  }
}

std::optional<Operation> exchanged_jump(Operation jump) {
  using enum Operation;
  switch (static_cast<uint16_t>(jump)) {
    SKEP_EACH_FORM(Jeq, Jeq)
    SKEP_EACH_FORM(Jne, Jne)
    SKEP_EACH_FORM(Jset, Jset)
    SKEP_PAIR(Jgt, Jlt)
    SKEP_PAIR(Jge, Jle)
    SKEP_PAIR(Jsgt, Jslt)
    SKEP_PAIR(Jsge, Jsle)
    default:
      return std::nullopt;
  }
}

#undef SKEP_PAIR
#undef SKEP_EACH_FORM

}  // namespace skep::vm
