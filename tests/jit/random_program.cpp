#include "random_program.hpp"

#include <array>
#include <initializer_list>
#include <limits>

#include "vm/random.hpp"

namespace skep::jit {
namespace {

using isa::Class;
using isa::Instruction;
using isa::Op;
using isa::Row;
using isa::Source;

constexpr uint8_t kMemory = 9;  // points at the raw memory, as a rule

// An instruction whose target, if it has one, is still an index.
struct Draft {
  Instruction i;
  size_t target = kNone;
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
};

class Generator {
 public:
  Generator(uint64_t seed, const RandomProgramOptions& options) : random_(seed), options_(options) {
    for (const Row& row : isa::rows()) by_class_[static_cast<size_t>(row.cls)].push_back(row.op);
  }

  std::vector<Instruction> run() {
    const size_t functions = 1 + below(options_.functions);
    for (size_t n = 0; n < functions; ++n) {
      begins_.push_back(drafts_.size());
      function(n == 0);
    }
    resolve_calls();
    return encode_targets();
  }

 private:
  uint64_t below(uint64_t bound) { return random_.next() % bound; }
  bool percent(unsigned chance) { return below(100) < chance; }
  uint8_t reg() { return static_cast<uint8_t>(below(10)); }
  // Mostly not the pointer that other instructions rely on.
  uint8_t target_reg() { return percent(2) ? kMemory : static_cast<uint8_t>(below(9)); }
  Op any_of(Class cls) {
    const auto& ops = by_class_[static_cast<size_t>(cls)];
    return ops[below(ops.size())];
  }

  int32_t immediate() {
    static constexpr std::array<int32_t, 12> kEdges{
        0, 1, -1, 2, 7, 8, 0x7fff, -0x8000, 0x1000, 0x7fffffff, -0x7fffffff - 1, 31};
    if (percent(50)) return kEdges[below(kEdges.size())];
    if (percent(50)) return static_cast<int32_t>(below(256)) - 128;
    return static_cast<int32_t>(static_cast<uint32_t>(random_.next()));
  }

  void put(const Instruction& i, size_t target = Draft::kNone) { drafts_.push_back({i, target}); }
  void put(Op op, uint8_t dst, uint8_t src, int16_t off, int64_t imm) { put({op, dst, src, off, 0, imm}); }

  void function(bool is_entry) {
    const size_t begin = drafts_.size();
    if (is_entry) {
      put(Op::kMov64Reg, kMemory, 1, 0, 0);
      for (uint8_t r = 0; r < 9; ++r)
        put(Op::kLdImm64, r, 0, 0, percent(50) ? immediate() : static_cast<int64_t>(random_.next()));
    }
    if (!is_entry && options_.initialised) {
      for (const uint8_t r : std::initializer_list<uint8_t>{0, 6, 7, 8}) put(Op::kMov64Imm, r, 0, 0, r);
      put(Op::kMov64Reg, kMemory, isa::kFramePointer, 0, 0);
      put(Op::kAdd64Imm, kMemory, 0, 0, -512);
    }
    const size_t body = 1 + below(2 * uint64_t{options_.length});
    for (size_t n = 0; n < body; ++n) one();
    const size_t end = drafts_.size();
    if (is_entry)
      for (uint8_t r = 0; r < 10; ++r)
        put(Op::kStx64, isa::kFramePointer, r, static_cast<int16_t>(-8 * (r + 1)), 0);
    put(Op::kExit, 0, 0, 0, 0);
    aim_jumps(begin, end);
  }

  void one() {
    switch (below(16)) {
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
    }
  }

  void after_call() {
    if (!options_.initialised) return;
    for (uint8_t r = 1; r <= 5; ++r) put(Op::kMov64Imm, r, 0, 0, immediate());
  }

  void arithmetic() {
    if (percent(5)) return put(Op::kLdImm64, target_reg(), 0, 0, static_cast<int64_t>(random_.next()));
    const Op op = any_of(Class::kAlu);
    put(op, target_reg(), isa::row(op).source == Source::kReg ? any_source() : uint8_t{0}, 0,
        isa::row(op).source == Source::kImm ? immediate() : 0);
  }
  uint8_t any_source() { return percent(5) ? isa::kFramePointer : reg(); }

  // Where to is decided when the function is complete.
  void jump() {
    if (percent(10)) return put({Op::kGoto, 0, 0, 0, 0, 0}, 0);
    if (percent(5)) return put({Op::kGotol, 0, 0, 0, 0, 0}, 0);
    if (percent(10)) return put({Op::kMayGoto, 0, 0, 0, 0, 0}, 0);
    const Op op = any_of(Class::kJump);
    const bool by_reg = isa::row(op).source == Source::kReg;
    put({op, reg(), by_reg ? any_source() : uint8_t{0}, 0, 0, by_reg ? 0 : immediate()}, 0);
  }

  void aim_jumps(size_t begin, size_t end) {
    for (size_t n = begin; n < end; ++n) {
      Draft& draft = drafts_[n];
      if (draft.target == Draft::kNone || draft.i.op == Op::kCallLocal || draft.i.op == Op::kLdFunc) continue;
      const bool back = percent(15);
      draft.target = back ? begin + below(n - begin + 1) : n + 1 + below(std::min<size_t>(end - n, 12));
    }
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
    const Place at = place(bytes_of(op), false);
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
      put(Op::kMov64Reg, at, kMemory, 0, 0);
      put(Op::kAdd64Imm, at, 0, 0, forward);
      put(Op::kLdx8, target_reg(), at, 0, 0);
    } else {
      put(Op::kMov64Reg, at, isa::kFramePointer, 0, 0);
      put(Op::kAdd64Imm, at, 0, 0, -8 - forward);
      put(Op::kStx64, at, reg(), 0, 0);
    }
  }

  void call() {
    do_call();
    after_call();
  }
  void do_call() {
    if (percent(40)) return put({Op::kCallLocal, 0, 0, 0, 0, 0}, 0);
    if (percent(20) && options_.callback_helper != 0) {
      put({Op::kLdFunc, 1, 0, 0, 0, 0}, 0);
      return put(Op::kCallHelper, 0, 0, 0, options_.callback_helper);
    }
    if (options_.loop_helper != 0 && percent(30)) return loop();
    if (options_.lookup_helper != 0 && percent(30)) return look_up();
    if (options_.plain_helper == 0) return arithmetic();
    if (percent(20)) {
      const uint8_t number = target_reg();
      put(Op::kMov64Imm, number, 0, 0, options_.plain_helper);
      return put(Op::kCallReg, number, 0, 0, 0);
    }
    put(Op::kCallHelper, 0, 0, 0, options_.plain_helper);
  }

  void loop() {
    put(Op::kMov32Imm, 1, 0, 0, static_cast<int64_t>(below(6)));
    put({Op::kLdFunc, 2, 0, 0, 0, 0}, 0);
    put(Op::kMov64Imm, 4, 0, 0, percent(95) ? 0 : 1);
    put(Op::kCallHelper, 0, 0, 0, options_.loop_helper);
  }
  void look_up() {
    const uint8_t base = percent(80) ? isa::kFramePointer : kMemory;
    put(Op::kMov64Reg, 2, base, 0, 0);
    put(Op::kAdd64Imm, 2, 0, 0, base == isa::kFramePointer ? -8 : 0);
    if (percent(80)) put(Op::kSt32, 2, 0, 0, static_cast<int64_t>(below(6)));
    put({Op::kLdMapFd, 1, 0, 0, 0, 0});
    put(Op::kCallHelper, 0, 0, 0, options_.lookup_helper);
    if (percent(70)) put(Op::kLdx32, 3, 0, 0, 0);
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

  // Calls lead mostly to later functions, so that most of them end.
  void resolve_calls() {
    for (size_t n = 0; n < drafts_.size(); ++n) {
      Draft& draft = drafts_[n];
      if (draft.i.op != Op::kCallLocal && draft.i.op != Op::kLdFunc) continue;
      size_t caller = begins_.size() - 1;
      while (begins_[caller] > n) --caller;
      const size_t later = begins_.size() - caller - 1;
      const bool any = percent(5) || (later == 0 && draft.i.op == Op::kLdFunc);
      if (any)
        draft.target = begins_[below(begins_.size())];
      else if (later != 0)
        draft.target = begins_[caller + 1 + below(later)];
      else
        draft = {{Op::kNeg64, 0, 0, 0, 0, 0}};
    }
  }

  std::vector<Instruction> encode_targets() {
    std::vector<uint32_t> slots;
    uint32_t slot = 0;
    for (const Draft& draft : drafts_) {
      slots.push_back(slot);
      slot += draft.i.slots();
    }
    std::vector<Instruction> out;
    for (size_t n = 0; n < drafts_.size(); ++n) {
      Instruction i = drafts_[n].i;
      i.slot = slots[n];
      if (drafts_[n].target != Draft::kNone) {
        const int64_t distance = int64_t{slots[drafts_[n].target]} - int64_t{slots[n]} - 1;
        if (i.op == Op::kGotol || i.op == Op::kCallLocal)
          i.imm = distance;
        else if (i.op == Op::kLdFunc)
          i.imm = static_cast<uint32_t>(distance);
        else
          i.off = static_cast<int16_t>(distance);
      }
      out.push_back(i);
    }
    return out;
  }

  vm::Random random_;
  const RandomProgramOptions& options_;
  std::array<std::vector<Op>, 9> by_class_;
  std::vector<Draft> drafts_;
  std::vector<size_t> begins_;
};

}  // namespace

std::vector<isa::Instruction> random_program(uint64_t seed, const RandomProgramOptions& options) {
  return Generator(seed, options).run();
}

}  // namespace skep::jit
