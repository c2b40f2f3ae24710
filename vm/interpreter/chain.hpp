#pragma once

#include <concepts>

#include "vm/interpreter/bodies.hpp"
#include "vm/interpreter/control.hpp"

// Handlers, made of the bodies of one or more operations that follow one another.
namespace skep::vm::interpreter {

// What an operation does; see bodies.hpp and control.hpp.
template <Operation op>
struct Body;
#define SKEP_ALU(name, opcode, key, value, operation, width, source, ...) \
  template <>                                                             \
  struct Body<Operation::k##name> : Arithmetic<AluOp::k##operation, width, Source::k##source> {};
#define SKEP_JUMP(name, opcode, condition, width, source, ...) \
  template <>                                                  \
  struct Body<Operation::k##name> : Jump<Condition::k##condition, width, Source::k##source> {};
#define SKEP_LOAD(name, opcode, width, sign, ...) \
  template <>                                     \
  struct Body<Operation::k##name> : Load<width, Sign::k##sign> {};
#define SKEP_STORE(name, opcode, width, source, ...) \
  template <>                                        \
  struct Body<Operation::k##name> : Store<width, Source::k##source> {};
#define SKEP_ATOMIC(name, opcode, imm, operation, width, ...) \
  template <>                                                 \
  struct Body<Operation::k##name> : Atomic<AtomicOp::k##operation, width> {};
#define SKEP_ORDERED(name, opcode, imm, direction, width, ...) \
  template <>                                                  \
  struct Body<Operation::k##name> : Ordered<Direction::k##direction, width> {};
#define SKEP_LDIMM(name, ...) \
  template <>                 \
  struct Body<Operation::k##name> : LoadImmediate {};
#define SKEP_PACKET(name, opcode, mode, width, ...) \
  template <>                                       \
  struct Body<Operation::k##name> : Packet<isa::PacketMode::k##mode, width> {};
#include "isa/instructions.def"
#define SKEP_ALU3(name, operation, width, source) \
  template <>                                     \
  struct Body<Operation::k##name> : Arithmetic3<AluOp::k##operation, width, Source::k##source> {};
#define SKEP_ADDRESS(name, width) \
  template <>                     \
  struct Body<Operation::k##name> : Address<width> {};
#define SKEP_ROTATE(name, width) \
  template <>                    \
  struct Body<Operation::k##name> : Rotate<width> {};
#define SKEP_DIVISION(name, operation, width) \
  template <>                                 \
  struct Body<Operation::k##name> : Division<AluOp::k##operation, width> {};
#define SKEP_LOAD_INDEXED(name, width, sign) \
  template <>                                \
  struct Body<Operation::k##name> : Load<width, Sign::k##sign, true> {};
#define SKEP_LOAD_SWAPPED(name, width) \
  template <>                          \
  struct Body<Operation::k##name> : LoadSwapped<width> {};
#define SKEP_STORE_INDEXED(name, width, source) \
  template <>                                   \
  struct Body<Operation::k##name> : Store<width, Source::k##source, true> {};
#define SKEP_STORE_SWAPPED(name, width) \
  template <>                           \
  struct Body<Operation::k##name> : StoreSwapped<width> {};
#define SKEP_JUMP_CLEAR(name, width, source) \
  template <>                                \
  struct Body<Operation::k##name> : JumpClear<width, Source::k##source> {};
#define SKEP_SELECT(name, condition, width, source) \
  template <>                                       \
  struct Body<Operation::k##name> : Select<Condition::k##condition, width, Source::k##source> {};
#define SKEP_SELECT_CLEAR(name, width, source) \
  template <>                                  \
  struct Body<Operation::k##name> : SelectClear<width, Source::k##source> {};
#include "vm/operations.def"
template <>
struct Body<Operation::kGoto> : Goto {};
template <>
struct Body<Operation::kGotol> : Goto {};
template <>
struct Body<Operation::kMayGoto> : MayGoto {};
template <>
struct Body<Operation::kCallHelper> : CallHelper {};
template <>
struct Body<Operation::kCallReg> : CallHelper {};
template <>
struct Body<Operation::kCallLocal> : CallLocal {};
template <>
struct Body<Operation::kCallKfunc> : CallKfunc {};
template <>
struct Body<Operation::kExit> : Leave {};

template <class B>
concept Straight = requires(const Step& i, Registers& r) { B::run(i, r); };
template <class B>
concept Jumping = requires(const Step& i, const Registers& r) {
  { B::taken(i, r) } -> std::same_as<bool>;
};
template <class B>
concept Accessing = requires { B::kBytes; };

// An operation as a handler executes it. Where checks make no difference there is but one.
template <Operation operation, bool wants_checks>
struct Treated : Body<operation> {
  static constexpr Operation kOperation = operation;
  static constexpr bool kChecked = wants_checks;
};
template <Operation op, bool checked>
using Element = Treated<op, checked && !Straight<Body<op>>>;

// Whether the address is where the last accesses of that kind were.
template <unsigned bytes, bool write>
[[gnu::always_inline]] inline bool hits(const Activation& a, uint64_t address) {
  const Window& window = a.windows[write][width_index(bytes)];
  return address - window.begin < window.count;
}

// Asks for what is not in the window. Raises the fault if it is nowhere.
bool admit(const Step& i, Activation& a, Cpu& cpu, uint64_t address, unsigned bytes, bool write);
bool admit_aligned(const Step& i, Activation& a, Cpu& cpu, uint64_t address, unsigned bytes, bool write);

// What the window does not tell of. Never inlined, so that handlers stay free of stack frames.
template <class First>
[[gnu::noinline]] const Step* access_slowly(const Step* step, Activation& a, Cpu& cpu, uint64_t address) {
  constexpr auto kAdmit = First::kAligned ? admit_aligned : admit;
  if (!kAdmit(*step, a, cpu, address, First::kBytes, First::kWrite)) return stop(a);
  First::access(*step, a.r, address);
  return go_on(step + 1, a, cpu);
}

// Executes the first of the elements, then the rest, then goes on behind them.
template <class First, class... Rest>
[[gnu::always_inline]] inline const Step* links(const Step* step, Activation& a, Cpu& cpu) {
  if constexpr (Straight<First>) {
    First::run(*step, a.r);
  } else if constexpr (Accessing<First>) {
    const uint64_t address = First::address(*step, a.r);
    if constexpr (First::kChecked) {
      const bool aligned = !First::kAligned || address % First::kBytes == 0;
      if (!hits<First::kBytes, First::kWrite>(a, address) || !aligned) [[unlikely]]
        return access_slowly<First>(step, a, cpu, address);
    }
    First::access(*step, a.r, address);
  } else if constexpr (Jumping<First>) {
    if (First::taken(*step, a.r)) return jump<First::kChecked>(step, a, cpu);
  } else {
    return First::template finish<First::kChecked ? Mode::kChecked : Mode::kVerified>(step, a, cpu);
  }
  if constexpr (sizeof...(Rest) == 0)
    return go_on(step + 1, a, cpu);
  else
    return links<Rest...>(step + 1, a, cpu);
}

// The handler of operations that follow one another.
template <class... Elements>
const Step* chain(const Step* step, Activation& a, Cpu& cpu) {
  return links<Elements...>(step, a, cpu);
}

}  // namespace skep::vm::interpreter
