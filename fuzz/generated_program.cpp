#include "fuzz/generated_program.hpp"

#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "fuzz/program_draft.hpp"

namespace skep::fuzz {
namespace {

using isa::AluOp;
using isa::Class;
using isa::Instruction;
using isa::Op;
using isa::Row;
using isa::Source;

constexpr uint8_t kMemory = 9;  // points at the raw memory, as a rule

class Generator {
 public:
  Generator(Choices& choices, const GeneratorOptions& options) : choices_(choices), options_(options) {
    for (const Row& row : isa::rows()) by_class_[static_cast<size_t>(row.cls)].push_back(row.op);
  }

  std::vector<Instruction> run() {
    const uint64_t functions = 1 + below(options_.functions);
    for (uint64_t n = 0; n < functions; ++n) function(n == 0, functions - n);
    return draft_.finish();
  }

 private:
  uint64_t below(uint64_t bound) { return choices_.below(bound); }
  bool percent(unsigned chance) { return choices_.percent(chance); }
  uint8_t reg() { return static_cast<uint8_t>(below(10)); }
  // Mostly not the pointer that other instructions rely on.
  uint8_t target_reg() { return percent(2) ? kMemory : static_cast<uint8_t>(below(9)); }
  uint8_t any_source() { return percent(5) ? isa::kFramePointer : reg(); }
  Op any_of(Class cls) {
    const auto& ops = by_class_[static_cast<size_t>(cls)];
    return ops[below(ops.size())];
  }
  // The operation of a class with that width and source that the test picks.
  template <class Test>
  Op find(Class cls, unsigned width, Source source, Test test) const {
    for (const Op op : by_class_[static_cast<size_t>(cls)]) {
      const Row& row = isa::row(op);
      if (row.width == width && row.source == source && test(row)) return op;
    }
    return Op::kNeg64;
  }
  Op alu(AluOp operation, unsigned width, Source source) const {
    return find(Class::kAlu, width, source, [&](const Row& row) { return row.alu() == operation; });
  }

  int32_t immediate() {
    static constexpr std::array<int32_t, 12> kEdges{
        0, 1, -1, 2, 7, 8, 0x7fff, -0x8000, 0x1000, 0x7fffffff, -0x7fffffff - 1, 31};
    if (percent(50)) return kEdges[below(kEdges.size())];
    if (percent(50)) return static_cast<int32_t>(below(256)) - 128;
    return static_cast<int32_t>(static_cast<uint32_t>(choices_.word()));
  }

  void put(Op op, uint8_t dst, uint8_t src, int16_t off, int64_t imm) { draft_.put(op, dst, src, off, imm); }
  void set(uint8_t dst, int32_t imm) { put(Op::kMov64Imm, dst, 0, 0, imm); }
  void copy(uint8_t dst, uint8_t src) { put(Op::kMov64Reg, dst, src, 0, 0); }

  void function(bool is_entry, uint64_t functions_left) {
    choices_.begin_step();
    draft_.begin_function();
    if (is_entry)
      begin_entry();
    else if (options_.initialised)
      begin_callee();
    const uint64_t steps = choices_.steps(options_.length) / functions_left;
    for (uint64_t n = 0; n <= steps; ++n) {
      choices_.begin_step();
      step();
    }
    draft_.end_body();
    if (is_entry)
      for (uint8_t r = 0; r < 10; ++r)
        put(Op::kStx64, isa::kFramePointer, r, static_cast<int16_t>(-8 * (r + 1)), 0);
    put(Op::kExit, 0, 0, 0, 0);
  }

  void begin_entry() {
    copy(kMemory, 1);
    for (uint8_t r = 0; r < 9; ++r)
      put(Op::kLdImm64, r, 0, 0, percent(50) ? immediate() : static_cast<int64_t>(choices_.word()));
  }
  // A callback gets two arguments, another function what its caller had.
  void begin_callee() {
    for (const uint8_t r : std::initializer_list<uint8_t>{0, 3, 4, 5, 6, 7, 8}) set(r, r);
    copy(kMemory, isa::kFramePointer);
    put(Op::kAdd64Imm, kMemory, 0, 0, -512);
  }

  void step() {
    switch (below(20)) {
      default:
        return arithmetic();
      case 0:
        return jump();
      case 1:
      case 2:
        return load();
      case 3:
      case 4:
        return store();
      case 5:
        return percent(70) ? atomic() : ordered();
      case 6:
        return call();
      case 7:
        return percent(10) ? packet() : pointer();
      case 8:
      case 9:
      case 10:
        return shape();
      case 11:
        return options_.kernel_helpers ? kernel_helper() : arithmetic();
    }
  }

  void arithmetic() {
    if (percent(5)) return put(Op::kLdImm64, target_reg(), 0, 0, static_cast<int64_t>(choices_.word()));
    const Op op = any_of(Class::kAlu);
    put(op, target_reg(), isa::row(op).source == Source::kReg ? any_source() : uint8_t{0}, 0,
        isa::row(op).source == Source::kImm ? immediate() : 0);
  }

  void jump() {
    const uint64_t aim = choices_.below(0x10000);
    if (percent(10)) return draft_.put_jump({Op::kGoto, 0, 0, 0, 0, 0}, aim);
    if (percent(5)) return draft_.put_jump({Op::kGotol, 0, 0, 0, 0, 0}, aim);
    if (percent(10)) return draft_.put_jump({Op::kMayGoto, 0, 0, 0, 0, 0}, aim);
    draft_.put_jump(condition(), aim);
  }
  Instruction condition() {
    const Op op = any_of(Class::kJump);
    const bool by_reg = isa::row(op).source == Source::kReg;
    return {op, reg(), by_reg ? any_source() : uint8_t{0}, 0, 0, by_reg ? 0 : immediate()};
  }

  struct Place {
    uint8_t base;
    int16_t off;
  };
  Place place(unsigned bytes, bool aligned) {
    const unsigned unit = aligned ? bytes : 1;
    if (percent(1)) return {reg(), static_cast<int16_t>(immediate())};
    if (percent(40)) {
      const int64_t span = percent(2) ? 2048 : 512;
      const auto up = static_cast<int64_t>(below(static_cast<uint64_t>(span / unit))) * unit;
      return {isa::kFramePointer, static_cast<int16_t>(-span + up)};
    }
    const uint64_t span = options_.memory_size + (percent(2) ? 16 : 0);
    const uint64_t places = span >= bytes ? (span - bytes) / unit + 1 : 1;
    return {kMemory, static_cast<int16_t>(below(places) * unit)};
  }
  static unsigned bytes_of(Op op) { return isa::row(op).width / 8U; }

  void load() {
    const Op op = any_of(Class::kLoad);
    const Place at = place(bytes_of(op), false);
    put(op, target_reg(), at.base, at.off, 0);
  }
  void store() {
    const Op op = any_of(Class::kStore);
    store_at(op, place(bytes_of(op), false));
  }
  void store_at(Op op, Place at) {
    const bool by_reg = isa::row(op).source == Source::kReg;
    put(op, at.base, by_reg ? any_source() : uint8_t{0}, at.off, by_reg ? 0 : immediate());
  }
  void atomic() {
    const Op op = any_of(Class::kAtomic);
    const Place at = place(bytes_of(op), !percent(3));
    put(op, at.base, target_reg(), at.off, 0);
  }
  void ordered() {
    const Op op = any_of(Class::kOrdered);
    const Place at = place(bytes_of(op), !percent(3));
    if (isa::row(op).direction() == isa::Direction::kLoad)
      put(op, target_reg(), at.base, at.off, 0);
    else
      put(op, at.base, reg(), at.off, 0);
  }
  // A pointer somewhere else than in r9 or r10, used at once.
  void pointer() {
    const uint8_t at = static_cast<uint8_t>(below(9));
    const auto forward = static_cast<int32_t>(below(options_.memory_size));
    if (percent(50)) {
      copy(at, kMemory);
      put(Op::kAdd64Imm, at, 0, 0, forward);
      put(Op::kLdx8, target_reg(), at, 0, 0);
    } else {
      copy(at, isa::kFramePointer);
      put(Op::kAdd64Imm, at, 0, 0, -8 - forward);
      put(Op::kStx64, at, reg(), 0, 0);
    }
  }

  // What passes look for, now and then with something in between.
  void shape() {
    switch (below(8)) {
      case 0:
        return rotate();
      case 1:
        return indexed();
      case 2:
        return swapped();
      case 3:
        return tested();
      case 4:
        return hammock();
      case 5:
        return counted_loop();
      case 6:
        return constants();
      default:
        return three_operands();
    }
  }
  void maybe_between() {
    if (percent(8)) arithmetic();
  }

  void rotate() {
    const unsigned width = percent(50) ? 32 : 64;
    const uint8_t dst = target_reg();
    const uint8_t other = target_reg();
    const auto by = static_cast<int32_t>(below(width));
    const int32_t rest = static_cast<int32_t>(width) - by - (percent(8) ? 1 : 0);
    const bool left = percent(50);
    put(alu(AluOp::kMov, width, Source::kReg), dst, other, 0, 0);
    put(alu(left ? AluOp::kLsh : AluOp::kRsh, width, Source::kImm), dst, 0, 0, by);
    maybe_between();
    put(alu(left ? AluOp::kRsh : AluOp::kLsh, width, Source::kImm), other, 0, 0, rest & 63);
    static constexpr std::array kJoins{AluOp::kOr, AluOp::kXor, AluOp::kAdd};
    put(alu(kJoins[below(3)], width, Source::kReg), dst, other, 0, 0);
    if (percent(50)) set(other, 0);
  }

  void indexed() {
    const bool is_load = percent(60);
    const Op op = any_of(is_load ? Class::kLoad : Class::kStore);
    const uint8_t index = target_reg();
    const uint8_t at = target_reg();
    const auto scale = static_cast<int32_t>(below(4));
    const unsigned width = percent(50) ? 64 : 32;
    put(alu(AluOp::kAnd, width, Source::kImm), index, 0, 0, percent(95) ? 7 : 255);
    copy(at, percent(50) ? kMemory : index);
    if (scale != 0) put(Op::kLsh64Imm, percent(50) ? at : index, 0, 0, scale);
    maybe_between();
    put(Op::kAdd64Reg, at, percent(50) ? kMemory : index, 0, 0);
    const auto off = static_cast<int16_t>(below(16));
    if (is_load)
      put(op, percent(50) ? at : target_reg(), at, off, 0);
    else
      store_at(op, {at, off});
    if (percent(50)) set(at, 1);
  }

  void swapped() {
    static constexpr std::array kLoads{Op::kLdx16, Op::kLdx32, Op::kLdx64};
    static constexpr std::array kStores{Op::kStx16, Op::kStx32, Op::kStx64};
    static constexpr std::array kSwaps{AluOp::kBe16,    AluOp::kBe32,    AluOp::kBe64,
                                       AluOp::kBswap16, AluOp::kBswap32, AluOp::kBswap64};
    const uint64_t width = below(3);
    const AluOp swap = kSwaps[percent(90) ? width + 3 * below(2) : below(6)];
    const uint8_t value = target_reg();
    const Place at = place(2U << width, false);
    Op op = Op::kBe64;
    for (const Op candidate : by_class_[static_cast<size_t>(Class::kAlu)])
      if (isa::row(candidate).alu() == swap) op = candidate;
    if (percent(50)) {
      put(kLoads[width], value, at.base, at.off, 0);
      maybe_between();
      put(op, value, 0, 0, 0);
    } else {
      put(op, value, 0, 0, 0);
      maybe_between();
      put(kStores[width], at.base, value, at.off, 0);
      if (percent(70)) set(value, 3);
    }
  }

  void tested() {
    const unsigned width = percent(50) ? 64 : 32;
    const uint8_t copied = target_reg();
    const uint64_t aim = choices_.below(0x10000);
    const auto condition = percent(50) ? isa::Condition::kEq : isa::Condition::kNe;
    put(alu(AluOp::kMov, width, Source::kReg), copied, reg(), 0, 0);
    if (percent(50))
      put(alu(AluOp::kAnd, width, Source::kImm), copied, 0, 0, immediate());
    else
      put(alu(AluOp::kAnd, width, Source::kReg), copied, reg(), 0, 0);
    maybe_between();
    const Op jump =
        find(Class::kJump, width, Source::kImm, [&](const Row& row) { return row.condition() == condition; });
    draft_.put_jump({jump, copied, 0, 0, 0, percent(90) ? 0 : 1}, aim);
    if (percent(70)) set(copied, 4);
  }

  void hammock() {
    draft_.put_jump_to(condition(), draft_.next() + 2 + (percent(10) ? 1U : 0U));
    if (percent(50))
      put(percent(50) ? Op::kMov64Reg : Op::kMov32Reg, target_reg(), reg(), 0, 0);
    else
      put(percent(50) ? Op::kMov64Imm : Op::kMov32Imm, target_reg(), 0, 0, immediate());
    arithmetic();
  }

  // The counter is one that the body does not know of.
  void counted_loop() {
    const uint8_t counter = target_reg();
    const auto times = static_cast<int32_t>(1 + below(6));
    set(counter, times);
    const size_t head = draft_.next();
    for (uint64_t n = below(4); n-- > 0;) percent(60) ? arithmetic() : load();
    put(Op::kAdd64Imm, counter, 0, 0, -1);
    draft_.put_jump_to({percent(50) ? Op::kJne64Imm : Op::kJsgt64Imm, counter, 0, 0, 0, 0}, head);
  }

  void constants() {
    const uint8_t dst = target_reg();
    const unsigned width = percent(50) ? 64 : 32;
    if (percent(50)) put(alu(AluOp::kMov, width, Source::kImm), dst, 0, 0, immediate());
    maybe_between();
    static constexpr std::array kOperations{AluOp::kDiv,  AluOp::kMod, AluOp::kSdiv,
                                            AluOp::kSmod, AluOp::kMul, AluOp::kArsh,
                                            AluOp::kAnd,  AluOp::kAdd, AluOp::kXor};
    const AluOp operation = kOperations[below(kOperations.size())];
    const bool shifts = operation == AluOp::kArsh;
    put(alu(operation, width, Source::kImm), dst, 0, 0, shifts ? immediate() & 31 : divisor());
    if (percent(30)) draft_.put_jump({Op::kJeq64Imm, dst, 0, 0, 0, immediate()}, choices_.below(0x10000));
  }
  int32_t divisor() {
    if (percent(30)) return static_cast<int32_t>(uint32_t{1} << below(32));
    return immediate();
  }

  void three_operands() {
    const Op op = any_of(Class::kAlu);
    const unsigned width = isa::row(op).width;
    if (isa::row(op).source == Source::kNone) return put(op, target_reg(), 0, 0, 0);
    const uint8_t dst = target_reg();
    put(percent(90) ? alu(AluOp::kMov, width, Source::kReg) : Op::kMov64Reg, dst, reg(), 0, 0);
    maybe_between();
    const bool by_reg = isa::row(op).source == Source::kReg;
    put(op, dst, by_reg ? reg() : uint8_t{0}, 0, by_reg ? 0 : immediate());
  }

  void call() {
    do_call();
    after_call();
  }
  void after_call() {
    if (!options_.initialised) return;
    for (uint8_t r = 1; r <= 5; ++r) set(r, immediate());
  }
  void do_call() {
    const uint64_t aim = choices_.below(0x10000);
    if (percent(40)) return draft_.put_function({Op::kCallLocal, 0, 0, 0, 0, 0}, aim);
    if (percent(20) && options_.callback_helper != 0) {
      draft_.put_function({Op::kLdFunc, 1, 0, 0, 0, 0}, aim);
      return put(Op::kCallHelper, 0, 0, 0, options_.callback_helper);
    }
    if (options_.plain_helper == 0) return arithmetic();
    if (percent(20)) {
      const uint8_t number = target_reg();
      set(number, options_.plain_helper);
      return put(Op::kCallReg, number, 0, 0, 0);
    }
    put(Op::kCallHelper, 0, 0, 0, options_.plain_helper);
  }

  void packet() {
    load_packet();
    after_call();
  }
  void load_packet() {
    const Op op = any_of(Class::kPacket);
    const auto at = static_cast<int64_t>(below(options_.memory_size));
    if (isa::row(op).packet_mode() == isa::PacketMode::kAbs) return put(op, 0, 0, 0, at);
    const uint8_t index = target_reg();
    put(Op::kMov32Imm, index, 0, 0, at / 2);
    put(op, 0, index, 0, at / 2);
  }

  void kernel_helper() {
    const GeneratedMaps& maps = options_.maps;
    switch (below(5)) {
      case 0:
        put(Op::kCallHelper, 0, 0, 0, BPF_FUNC_get_smp_processor_id);
        return after_call();
      case 1:
        return loop();
      case 2:
        return tail_call(maps.programs);
      case 3:
        return look_up(percent(50) ? maps.array : maps.percpu_array);
      default:
        return look_up(maps.hash);
    }
  }

  void loop() {
    set(1, percent(90) ? static_cast<int32_t>(below(5)) : immediate());
    draft_.put_function({Op::kLdFunc, 2, 0, 0, 0, 0}, choices_.below(0x10000));
    copy(3, percent(50) ? isa::kFramePointer : uint8_t{0});
    set(4, percent(97) ? 0 : 1);
    put(Op::kCallHelper, 0, 0, 0, BPF_FUNC_loop);
    after_call();
  }

  // With the context, wherever it is at hand; in other functions, anything.
  void tail_call(int32_t programs) {
    if (programs < 0) return arithmetic();
    copy(1, kMemory);
    put(Op::kLdMapFd, 2, 0, 0, programs);
    if (percent(90)) set(3, static_cast<int32_t>(below(5)));
    put(Op::kCallHelper, 0, 0, 0, BPF_FUNC_tail_call);
    after_call();
  }

  // r2 points at a key on the stack.
  void put_key() {
    if (percent(80))
      put(Op::kSt32, isa::kFramePointer, 0, -84, static_cast<int64_t>(below(6)));
    else
      put(Op::kStx32, isa::kFramePointer, reg(), -84, 0);
    copy(2, isa::kFramePointer);
    put(Op::kAdd64Imm, 2, 0, 0, -84);
  }

  void look_up(int32_t map) {
    if (map < 0) return arithmetic();
    put_key();
    put(Op::kLdMapFd, 1, 0, 0, map);
    maybe_between();
    put(Op::kCallHelper, 0, 0, 0, BPF_FUNC_map_lookup_elem);
    after_call();
    if (percent(5)) return;
    const bool null_checked = percent(95);
    const size_t check = draft_.next();
    if (null_checked) draft_.put_jump_to({Op::kJeq64Imm, 0, 0, 0, 0, 0}, check);
    for (uint64_t n = 1 + below(2); n-- > 0;) use_value();
    if (null_checked) draft_.set_target(check, draft_.next());
    if (percent(70)) set(0, 0);
  }
  void use_value() {
    const bool is_load = percent(50);
    const Op op = any_of(is_load ? Class::kLoad : Class::kStore);
    const auto off = static_cast<int16_t>(below(9 - bytes_of(op) + (percent(3) ? 4 : 0)));
    if (is_load)
      put(op, static_cast<uint8_t>(1 + below(8)), 0, off, 0);
    else
      store_at(op, {0, off});
  }

  Choices& choices_;
  const GeneratorOptions& options_;
  std::array<std::vector<Op>, 9> by_class_;
  ProgramDraft draft_;
};

}  // namespace

std::vector<Instruction> generated_program(Choices& choices, const GeneratorOptions& options) {
  return Generator(choices, options).run();
}

}  // namespace skep::fuzz
