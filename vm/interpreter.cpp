#include "vm/interpreter.hpp"

#include <array>
#include <bit>

#include "isa/arithmetic.hpp"
#include "vm/cpu.hpp"
#include "vm/division.hpp"
#include "vm/helper_call.hpp"
#include "vm/memory_access.hpp"

namespace skep::vm {
namespace {

using isa::AluOp;
using isa::AtomicOp;
using isa::Condition;
using isa::Direction;
using isa::PacketMode;
using isa::Sign;
using isa::Source;

template <unsigned bits>
struct Bits;
template <>
struct Bits<8> {
  using Unsigned = uint8_t;
  using Signed = int8_t;
};
template <>
struct Bits<16> {
  using Unsigned = uint16_t;
  using Signed = int16_t;
};
template <>
struct Bits<32> {
  using Unsigned = uint32_t;
  using Signed = int32_t;
};
template <>
struct Bits<64> {
  using Unsigned = uint64_t;
  using Signed = int64_t;
};
template <unsigned bits>
using Unsigned = typename Bits<bits>::Unsigned;

// A caller that waits for the function it called.
struct Frame {
  const Program* program;
  uint32_t resume;                // the index to go on at
  std::array<uint64_t, 4> saved;  // r6 to r9
  uint64_t loops_left;
};

template <Mode mode>
class Interpretation {
 public:
  Interpretation(Cpu& cpu, const Subprogram& function, const Arguments& arguments)
      : cpu_(cpu),
        program_(function.program),
        code_(function.program->optimized(mode).instructions.data()),
        pc_(function.program->optimized(mode).functions[function.index].begin) {
    for (size_t i = 0; i < arguments.size(); ++i) r_[i + 1] = arguments[i];
    r_[isa::kFramePointer] = cpu.run().frame_top;
  }

  uint64_t run() {
    for (;;) {
      const LoweredInstruction& i = code_[pc_++];
      switch (i.op) {
#define SKEP_ALU(name, opcode, key, value, operation, width, source, ...)   \
  case Operation::k##name:                                                  \
    arithmetic<AluOp::k##operation, Unsigned<width>, Source::k##source>(i); \
    break;
#define SKEP_JUMP(name, opcode, condition, width, source, ...)                                 \
  case Operation::k##name:                                                                     \
    if (isa::holds<Condition::k##condition>(dst<Unsigned<width>>(i),                           \
                                            operand<Unsigned<width>, Source::k##source>(i)) && \
        !jump(i))                                                                              \
      return 0;                                                                                \
    break;
#define SKEP_LOAD(name, opcode, width, sign, ...)       \
  case Operation::k##name:                              \
    if (!load_value<width, Sign::k##sign>(i)) return 0; \
    break;
#define SKEP_STORE(name, opcode, width, source, ...)         \
  case Operation::k##name:                                   \
    if (!store_value<width, Source::k##source>(i)) return 0; \
    break;
#define SKEP_ATOMIC(name, opcode, imm, operation, width, ...)          \
  case Operation::k##name:                                             \
    if (!atomic<AtomicOp::k##operation, Unsigned<width>>(i)) return 0; \
    break;
#define SKEP_ORDERED(name, opcode, imm, direction, width, ...) \
  case Operation::k##name:                                     \
    if (!ordered<Direction::k##direction, width>(i)) return 0; \
    break;
#define SKEP_LDIMM(name, ...) \
  case Operation::k##name:    \
    r_[i.dst] = i.imm;        \
    break;
#define SKEP_PACKET(name, opcode, mode, width, ...)                       \
  case Operation::k##name:                                                \
    if (!packet<PacketMode::k##mode, width>(i) && !leave()) return r_[0]; \
    break;
#include "isa/instructions.def"
#define SKEP_ALU3(name, operation, width, source)                                               \
  case Operation::k##name:                                                                      \
    r_[i.dst] = isa::alu<AluOp::k##operation>(                                                  \
        static_cast<Unsigned<width>>(r_[i.src]),                                                \
        static_cast<Unsigned<width>>(Source::k##source == Source::kImm ? i.imm : r_[i.index])); \
    break;
#define SKEP_ADDRESS(name, width)                                    \
  case Operation::k##name:                                           \
    r_[i.dst] = static_cast<Unsigned<width>>(address(i, r_[i.src])); \
    break;
#define SKEP_ROTATE(name, width)                                                             \
  case Operation::k##name:                                                                   \
    r_[i.dst] = std::rotl(static_cast<Unsigned<width>>(r_[i.src]), static_cast<int>(i.imm)); \
    break;
#define SKEP_DIVISION(name, operation, width)                                                 \
  case Operation::k##name:                                                                    \
    r_[i.dst] = divide_by_magic<AluOp::k##operation>(static_cast<Unsigned<width>>(r_[i.src]), \
                                                     {i.imm, i.scale, i.index != 0}, i.off);  \
    break;
#define SKEP_LOAD_INDEXED(name, width, sign)                                \
  case Operation::k##name:                                                  \
    if (!load_at<width, Sign::k##sign>(i, address(i, r_[i.src]))) return 0; \
    break;
#define SKEP_LOAD_SWAPPED(name, width)                                        \
  case Operation::k##name:                                                    \
    if (!load_at<width, Sign::kUnsigned>(i, address(i, r_[i.src]))) return 0; \
    r_[i.dst] = isa::byte_swap(r_[i.dst], width);                             \
    break;
#define SKEP_STORE_INDEXED(name, width, source)                                     \
  case Operation::k##name:                                                          \
    if (!store_at<Unsigned<width>>(i, address(i, r_[i.dst]),                        \
                                   operand<Unsigned<width>, Source::k##source>(i))) \
      return 0;                                                                     \
    break;
#define SKEP_STORE_SWAPPED(name, width)                                                             \
  case Operation::k##name:                                                                          \
    if (!store_at<Unsigned<width>>(i, address(i, r_[i.dst]),                                        \
                                   static_cast<Unsigned<width>>(isa::byte_swap(r_[i.src], width)))) \
      return 0;                                                                                     \
    break;
#define SKEP_JUMP_CLEAR(name, width, source)                                            \
  case Operation::k##name:                                                              \
    if (!isa::holds<Condition::kSet>(dst<Unsigned<width>>(i),                           \
                                     operand<Unsigned<width>, Source::k##source>(i)) && \
        !jump(i))                                                                       \
      return 0;                                                                         \
    break;
#define SKEP_SELECT_CLEAR(name, width, source)                                        \
  case Operation::k##name:                                                            \
    if (!isa::holds<Condition::kSet>(static_cast<Unsigned<width>>(r_[i.index]),       \
                                     operand<Unsigned<width>, Source::k##source>(i))) \
      r_[i.dst] = r_[i.scale] + static_cast<uint64_t>(i.off);                         \
    break;
#define SKEP_SELECT(name, condition, width, source)                                          \
  case Operation::k##name:                                                                   \
    if (isa::holds<Condition::k##condition>(static_cast<Unsigned<width>>(r_[i.index]),       \
                                            operand<Unsigned<width>, Source::k##source>(i))) \
      r_[i.dst] = r_[i.scale] + static_cast<uint64_t>(i.off);                                \
    break;
#include "vm/operations.def"
        case Operation::kGoto:
        case Operation::kGotol:
          if (!jump(i)) return 0;
          break;
        case Operation::kMayGoto:
          if (loops_left_ != 0)
            --loops_left_;
          else if (!jump(i))
            return 0;
          break;
        case Operation::kCallLocal:
          if (!call_local(i)) return 0;
          break;
        case Operation::kCallHelper:
        case Operation::kCallReg:
          if (!call_helper(i)) return 0;
          break;
        case Operation::kCallKfunc:
          return 0;  // refused when the program was lowered
        case Operation::kExit:
          if (!leave()) return r_[0];
          break;
      }
    }
  }

 private:
  static constexpr bool kChecked = mode == Mode::kChecked;

  template <class T>
  T dst(const LoweredInstruction& i) const {
    return static_cast<T>(r_[i.dst]);
  }
  template <class T, Source source>
  T operand(const LoweredInstruction& i) const {
    return static_cast<T>(source == Source::kImm ? i.imm : r_[i.src]);
  }

  template <AluOp op, class T, Source source>
  void arithmetic(const LoweredInstruction& i) {
    r_[i.dst] = isa::alu<op>(dst<T>(i), operand<T, source>(i));
  }

  bool jump(const LoweredInstruction& i) {
    pc_ = i.target;
    return consume(i);
  }

  // A verified program ends by itself.
  bool consume(const LoweredInstruction& i) {
    if constexpr (!kChecked) return true;
    cpu_.run().fuel -= i.cost;
    if (cpu_.run().fuel >= 0) [[likely]]
      return true;
    cpu_.raise({.kind = FaultKind::kFuel, .slot = i.slot, .program = program_});
    return false;
  }

  bool check(const LoweredInstruction& i, uint64_t address, unsigned bytes, bool write) {
    if constexpr (!kChecked) return true;
    RunState& run = cpu_.run();
    const uint64_t frame_top = r_[isa::kFramePointer];
    if (Region{run.stack_begin, frame_top - run.stack_begin}.contains(address, bytes)) return true;
    if (run.packet.contains(address, bytes)) return true;
    if ((write ? run.last_write : run.last_read).contains(address, bytes)) return true;
    run.frame_top = frame_top;
    return cpu_.check_access(*program_, i.slot, address, bytes, write);
  }

  bool check_aligned(const LoweredInstruction& i, uint64_t address, unsigned bytes) {
    if constexpr (!kChecked) return true;
    if (address % bytes == 0) return true;
    cpu_.raise({.kind = FaultKind::kMisaligned,
                .slot = i.slot,
                .program = program_,
                .address = address,
                .size = bytes});
    return false;
  }

  uint64_t source_address(const LoweredInstruction& i) const {
    return r_[i.src] + static_cast<uint64_t>(i.off);
  }
  uint64_t target_address(const LoweredInstruction& i) const {
    return r_[i.dst] + static_cast<uint64_t>(i.off);
  }

  uint64_t address(const LoweredInstruction& i, uint64_t base) const {
    return base + (r_[i.index] << i.scale) + static_cast<uint64_t>(i.off);
  }

  template <unsigned bits, Sign sign>
  bool load_value(const LoweredInstruction& i) {
    return load_at<bits, sign>(i, source_address(i));
  }

  template <unsigned bits, Sign sign>
  bool load_at(const LoweredInstruction& i, uint64_t address) {
    if (!check(i, address, bits / 8, false)) return false;
    const auto value = load<Unsigned<bits>>(address);
    if constexpr (sign == Sign::kSigned) {
      r_[i.dst] = isa::sign_extend<typename Bits<bits>::Signed>(static_cast<uint64_t>(value));
    } else {
      r_[i.dst] = value;
    }
    return true;
  }

  template <unsigned bits, Source source>
  bool store_value(const LoweredInstruction& i) {
    return store_at<Unsigned<bits>>(i, target_address(i), operand<Unsigned<bits>, source>(i));
  }

  template <class T>
  bool store_at(const LoweredInstruction& i, uint64_t address, T value) {
    if (!check(i, address, sizeof(T), true)) return false;
    store<T>(address, value);
    return true;
  }

  template <AtomicOp op, class T>
  bool atomic(const LoweredInstruction& i) {
    const uint64_t address = target_address(i);
    if (!check(i, address, sizeof(T), true) || !check_aligned(i, address, sizeof(T))) return false;
    const T old = atomic_update<op>(address, static_cast<T>(r_[i.src]), static_cast<T>(r_[0]));
    if constexpr (op == AtomicOp::kCmpxchg) {
      r_[0] = old;
    } else if constexpr (isa::fetches(op)) {
      r_[i.src] = old;
    }
    return true;
  }

  template <Direction direction, unsigned bits>
  bool ordered(const LoweredInstruction& i) {
    using T = Unsigned<bits>;
    constexpr bool kWrite = direction == Direction::kStore;
    const uint64_t address = kWrite ? target_address(i) : source_address(i);
    if (!check(i, address, sizeof(T), kWrite) || !check_aligned(i, address, sizeof(T))) return false;
    // Pairs with the store-release or load-acquire that the program does on another CPU.
    if constexpr (kWrite) {
      __atomic_store_n(reinterpret_cast<T*>(address), static_cast<T>(r_[i.src]), __ATOMIC_RELEASE);
    } else {
      r_[i.dst] = __atomic_load_n(reinterpret_cast<const T*>(address), __ATOMIC_ACQUIRE);
    }
    return true;
  }

  // False: outside the packet; the function ends with r0 = 0.
  template <PacketMode packet_mode, unsigned bits>
  bool packet(const LoweredInstruction& i) {
    uint64_t offset = i.imm;
    if constexpr (packet_mode == PacketMode::kInd) offset += r_[i.src];
    const int64_t value = load_packet(cpu_, static_cast<int32_t>(static_cast<uint32_t>(offset)), bits / 8);
    clobber_arguments();
    r_[0] = value < 0 ? 0 : static_cast<uint64_t>(value);
    return value >= 0;
  }

  // r1 to r5 are scratch across a call; a fixed value keeps runs reproducible.
  void clobber_arguments() {
    for (unsigned i = 1; i <= 5; ++i) r_[i] = 0;
  }

  bool call_local(const LoweredInstruction& i) {
    if (!consume(i)) return false;
    if (r_[isa::kFramePointer] + kFrameSize > cpu_.run().stack_end) {
      cpu_.raise({.kind = FaultKind::kCallDepth, .slot = i.slot, .program = program_});
      return false;
    }
    frames_[depth_++] = {program_, pc_, {r_[6], r_[7], r_[8], r_[9]}, loops_left_};
    loops_left_ = kMaxLoops;
    r_[isa::kFramePointer] += kFrameSize;
    pc_ = program_->optimized(mode).functions[i.target].begin;
    return true;
  }

  // False: the function entered from C++ is done.
  bool leave() {
    if (depth_ == 0) return false;
    const Frame& frame = frames_[--depth_];
    program_ = frame.program;
    cpu_.run().program = program_;
    code_ = program_->optimized(mode).instructions.data();
    pc_ = frame.resume;
    for (unsigned n = 0; n < frame.saved.size(); ++n) r_[6 + n] = frame.saved[n];
    loops_left_ = frame.loops_left;
    r_[isa::kFramePointer] -= kFrameSize;
    clobber_arguments();
    return true;
  }

  bool call_helper(const LoweredInstruction& i) {
    const auto& site = *reinterpret_cast<const CallSite*>(i.imm);
    cpu_.run().frame_top = r_[isa::kFramePointer];
    if (site.helper && site.helper->special == Special::kTailCall) return tail_call(site);
    cpu_.run().call_site = &site;
    cpu_.run().helper_number = r_[i.dst];
    r_[0] = helper_entry(site, mode)(r_[1], r_[2], r_[3], r_[4], r_[5], cpu_);
    clobber_arguments();
    return !cpu_.stopped();
  }

  bool tail_call(const CallSite& site) {
    const Program* target = tail_call_target(cpu_, site, r_[2], r_[3]);
    const uint64_t context = r_[1];
    clobber_arguments();
    r_[0] = 0;
    if (!target) return !cpu_.stopped();
    program_ = target;
    code_ = target->optimized(mode).instructions.data();
    pc_ = 0;  // where the entry begins
    loops_left_ = kMaxLoops;
    for (unsigned n = 6; n <= 9; ++n) r_[n] = 0;
    r_[1] = context;
    return true;
  }

  Cpu& cpu_;
  const Program* program_;
  const LoweredInstruction* code_;
  uint32_t pc_;
  unsigned depth_ = 0;
  uint64_t loops_left_ = kMaxLoops;
  std::array<uint64_t, kOperandRegisters> r_{};  // kZeroRegister stays 0
  std::array<Frame, kMaxFrames> frames_;
};

class Interpreted final : public Executable {
 public:
  explicit Interpreted(Mode mode) : mode_(mode) {}

  uint64_t call(Cpu& cpu, const Subprogram& function, const Arguments& arguments) const override {
    if (mode_ == Mode::kChecked) return Interpretation<Mode::kChecked>(cpu, function, arguments).run();
    return Interpretation<Mode::kVerified>(cpu, function, arguments).run();
  }

 private:
  Mode mode_;
};

class Interpreter final : public Engine {
 public:
  std::unique_ptr<Executable> prepare(const Program&, Mode mode) const override {
    return std::make_unique<Interpreted>(mode);
  }
};

}  // namespace

std::unique_ptr<Engine> make_interpreter() { return std::make_unique<Interpreter>(); }

}  // namespace skep::vm
