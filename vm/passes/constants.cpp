#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>
#include <vector>

#include "isa/evaluate.hpp"
#include "vm/flow.hpp"
#include "vm/passes/branches.hpp"
#include "vm/passes/passes.hpp"
#include "vm/register_use.hpp"

namespace skep::vm {
namespace {

using isa::AluOp;
using isa::Class;
using isa::Source;

// What is known of the registers at some place.
struct Known {
  bool reached = false;
  RegisterSet registers = 0;  // whose value is known
  std::array<uint64_t, isa::kRegisters> values{};

  bool has(uint8_t reg) const { return (registers & register_set(reg)) != 0; }
  std::optional<uint64_t> value(uint8_t reg) const {
    return has(reg) ? std::optional(values[reg]) : std::nullopt;
  }
  void set(uint8_t reg, uint64_t value) {
    registers |= register_set(reg);
    values[reg] = value;
  }
  void forget(RegisterSet set) { registers = static_cast<RegisterSet>(registers & ~set); }

  // Keeps what both know. True: that is less than before, or the first that arrives.
  bool meet(const Known& other) {
    if (!reached) {
      *this = other;
      return true;
    }
    const RegisterSet before = registers;
    registers &= other.registers;
    for (unsigned left = registers; left != 0; left &= left - 1) {
      const auto reg = static_cast<unsigned>(std::countr_zero(left));
      if (values[reg] != other.values[reg]) forget(register_set(reg));
    }
    return registers != before;
  }
};

bool is_move(AluOp op) {
  return op == AluOp::kMov || op == AluOp::kMovsx8 || op == AluOp::kMovsx16 || op == AluOp::kMovsx32;
}

// What an operation leaves in its dst, if that is known.
// The operation is one of an instruction that is_pure().
std::optional<uint64_t> result(const Known& known, const LoweredInstruction& i) {
  if (i.op == Operation::kLdImm64 || i.op == Operation::kMov64Imm) return i.imm;
  const isa::Row& row = isa::row(isa_op(i.op));
  const bool cancels =
      row.source == Source::kReg && i.src == i.dst && (row.alu() == AluOp::kXor || row.alu() == AluOp::kSub);
  if (cancels) return 0;
  if (row.source == Source::kReg && !known.has(i.src)) return std::nullopt;
  if (!is_move(row.alu()) && !known.has(i.dst)) return std::nullopt;
  return isa::evaluate(isa_op(i.op), known.values[i.dst],
                       row.source == Source::kReg ? known.values[i.src] : i.imm);
}

// Whether a conditional jump is taken, if that is known.
std::optional<bool> taken(const Known& known, const LoweredInstruction& i) {
  if (is_fused(i.op) || !known.has(i.dst)) return std::nullopt;
  const isa::Row& row = isa::row(isa_op(i.op));
  if (row.cls != Class::kJump) return std::nullopt;
  if (row.source == Source::kReg && !known.has(i.src)) return std::nullopt;
  return isa::is_taken(isa_op(i.op), known.values[i.dst],
                       row.source == Source::kReg ? known.values[i.src] : i.imm);
}

bool fits(uint64_t value) {
  return static_cast<int64_t>(value) == static_cast<int32_t>(static_cast<uint32_t>(value));
}

// The operation with an immediate in src's place.
Operation immediate_form(const isa::Row& row) {
  static const std::vector<Operation> forms_by_op = [] {
    std::vector<Operation> forms(kIsaOperations);
    for (const isa::Row& reg : isa::rows()) {
      forms[static_cast<size_t>(reg.op)] = operation(reg.op);
      for (const isa::Row& imm : isa::rows())
        if (imm.cls == reg.cls && imm.operation == reg.operation && imm.width == reg.width &&
            reg.source == Source::kReg && imm.source == Source::kImm)
          forms[static_cast<size_t>(reg.op)] = operation(imm.op);
    }
    return forms;
  }();
  return forms_by_op[static_cast<size_t>(row.op)];
}

class Folding {
 public:
  explicit Folding(Code& code) : code_(code), entries_(code.instructions.size(), kNone) {
    uint32_t places = 0;
    for (const Code::Range& range : code.functions) entries_[range.begin] = places++;
    for (uint32_t n = 0; n < entries_.size(); ++n) {
      const LoweredInstruction& i = code.instructions[n];
      if (!is_jump(i.op)) continue;
      if (entries_[i.target] == kNone) entries_[i.target] = places++;
      loops_ = loops_ || i.target <= n;
    }
    known_.resize(places);
  }

  void run() {
    marks_.resize(code_.instructions.size());
    for (const Code::Range& range : code_.functions) {
      known_[entries_[range.begin]].reached = true;
      // What is known anywhere is known when a walk without loops gets there.
      if (!loops_ || settle(range)) walk<true>(range);
    }
    if (dropped_) remove_marked(code_, marks_);
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // False: it takes too long.
  bool settle(const Code::Range& range) {
    unsigned walks = 0;
    for (uint32_t from = range.begin; from != kNone; from = walk<false>({from, range.end}))
      if (++walks > kMaxSweeps) return false;
    return true;
  }

  // Returns the first place that, after it has been passed, was reached with less; kNone: there is none.
  template <bool rewriting>
  uint32_t walk(const Code::Range& range) {
    uint32_t again = kNone;
    Known known;
    for (uint32_t n = range.begin; n < range.end; ++n) {
      if (entries_[n] != kNone) {
        Known& entry = known_[entries_[n]];
        if (known.reached) entry.meet(known);
        known = entry;
      }
      if (!known.reached) {
        if (rewriting) drop(n);
        continue;
      }
      LoweredInstruction& i = code_.instructions[n];
      const unsigned has = traits::of(i.op);
      if ((has & (traits::kJumps | traits::kEndsFlow)) != 0)
        again = std::min(again, walk_jump<rewriting>(n, known));
      else if ((has & traits::kPure) == 0 || is_fused(i.op))
        known.forget(register_use(i).writes);
      else
        walk_arithmetic<rewriting>(i, has, known);
    }
    return again;
  }

  template <bool rewriting>
  static void walk_arithmetic(LoweredInstruction& i, unsigned has, Known& known) {
    const bool by_register = (has & traits::kReadsSrc) != 0;
    const bool unknown_dst = (has & traits::kReadsDst) != 0 && !known.has(i.dst);
    const bool unknown_src = by_register && !known.has(i.src);
    // Most operations end here.
    if ((unknown_dst || unknown_src) && !(by_register && i.src == i.dst)) {
      if (rewriting && by_register && !unknown_src) rewrite_arithmetic(i, known, std::nullopt);
      return known.forget(register_set(i.dst));
    }
    const auto value = result(known, i);
    if (rewriting) rewrite_arithmetic(i, known, value);
    if (value)
      known.set(i.dst, *value);
    else
      known.forget(register_set(i.dst));
  }

  // Goes on to where the operation leads.
  template <bool rewriting>
  uint32_t walk_jump(uint32_t n, Known& known) {
    LoweredInstruction& i = code_.instructions[n];
    const auto jumps = taken(known, i);
    const uint32_t target = i.target;
    const bool again =
        is_jump(i.op) && jumps.value_or(true) && known_[entries_[target]].meet(known) && target <= n;
    const bool ends = ends_flow(i.op) || jumps.value_or(false);
    if (rewriting) rewrite_jump(n, known, jumps);
    if (ends) known.reached = false;
    return again ? target : kNone;
  }

  void rewrite_jump(uint32_t n, const Known& known, std::optional<bool> jumps) {
    LoweredInstruction& i = code_.instructions[n];
    if (is_fused(i.op) || isa::row(isa_op(i.op)).cls != Class::kJump) return;
    if (!jumps)
      rewrite_comparison(i, known);
    else if (*jumps)
      i.op = Operation::kGoto;
    else
      drop(n);
  }

  void drop(uint32_t n) {
    marks_[n] = 1;
    dropped_ = true;
  }

  static void rewrite_arithmetic(LoweredInstruction& i, const Known& known, std::optional<uint64_t> value) {
    const isa::Row& row = isa::row(isa_op(i.op));
    if (row.cls != Class::kAlu) return;
    if (value) return put(i, *value, row);
    if (row.source != Source::kReg || is_move(row.alu())) return;
    const auto operand = known.value(i.src);
    if (operand) put_operand(i, *operand, row);
  }

  static void put(LoweredInstruction& i, uint64_t value, const isa::Row& row) {
    if (row.alu() == AluOp::kMov && row.source == Source::kImm) return;
    const bool small = value <= std::numeric_limits<uint32_t>::max();
    // A copy or a sum is shorter than a number of 64 bits.
    if (!small && !fits(value) && (row.alu() == AluOp::kMov || row.alu() == AluOp::kAdd)) return;
    i.op = fits(value) ? Operation::kMov64Imm : Operation::kLdImm64;
    i.imm = value;
  }

  static void put_operand(LoweredInstruction& i, uint64_t value, const isa::Row& row) {
    const auto low =
        static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(static_cast<uint32_t>(value))));
    if (row.width == 64 && low != value) return;
    i.op = immediate_form(row);
    i.src = 0;
    i.imm = low;
  }

  static void rewrite_comparison(LoweredInstruction& i, const Known& known) {
    const isa::Row& row = isa::row(isa_op(i.op));
    if (row.source != Source::kReg || i.src == i.dst) return;
    if (const auto operand = known.value(i.src)) return put_operand(i, *operand, row);
    const auto operand = known.value(i.dst);
    const auto exchanged = exchanged_jump(i.op);
    if (!operand || !exchanged || (row.width == 64 && !fits(*operand))) return;
    i.op = *exchanged;
    i.dst = i.src;
    put_operand(i, *operand, isa::row(isa_op(i.op)));
  }

  Code& code_;
  std::vector<uint32_t> entries_;  // by operation: where in known_ what is known before it stands
  std::vector<Known> known_;       // of functions' beginnings and jumps' targets
  std::vector<uint8_t> marks_;
  bool dropped_ = false;
  bool loops_ = false;
};

}  // namespace

void fold_constants(Code& code) { Folding(code).run(); }

}  // namespace skep::vm
