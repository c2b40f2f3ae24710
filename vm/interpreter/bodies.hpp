#pragma once

#include <bit>
#include <cstdint>

#include "isa/arithmetic.hpp"
#include "vm/division.hpp"
#include "vm/interpreter/step.hpp"
#include "vm/memory_access.hpp"

// What each operation does that neither jumps, calls nor returns, and when a jump is taken. A body is one of
//   straight: run(step, r)
//   an access: kBytes, kWrite, kAligned (whether only aligned addresses will do), address(step, r) and
//     access(step, r, address)
//   a jump: taken(step, r)
namespace skep::vm::interpreter {

using isa::AluOp;
using isa::AtomicOp;
using isa::Condition;
using isa::Direction;
using isa::Sign;
using isa::Source;
using Registers = std::array<uint64_t, kOperandRegisters>;

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

template <class T, Source source>
T operand(const Step& i, const Registers& r) {
  return static_cast<T>(source == Source::kImm ? i.imm : r[i.src]);
}

inline uint64_t offset(const Step& i) { return static_cast<uint64_t>(int64_t{i.off}); }

inline uint64_t indexed(const Step& i, const Registers& r, uint64_t base) {
  return base + (r[i.index] << i.scale) + offset(i);
}

template <AluOp op, unsigned width, Source source>
struct Arithmetic {
  static void run(const Step& i, Registers& r) {
    using T = Unsigned<width>;
    r[i.dst] = isa::alu<op>(static_cast<T>(r[i.dst]), operand<T, source>(i, r));
  }
};

template <AluOp op, unsigned width, Source source>
struct Arithmetic3 {
  static void run(const Step& i, Registers& r) {
    using T = Unsigned<width>;
    r[i.dst] =
        isa::alu<op>(static_cast<T>(r[i.src]), static_cast<T>(source == Source::kImm ? i.imm : r[i.index]));
  }
};

template <unsigned width>
struct Address {
  static void run(const Step& i, Registers& r) {
    r[i.dst] = static_cast<Unsigned<width>>(indexed(i, r, r[i.src]));
  }
};

template <unsigned width>
struct Rotate {
  static void run(const Step& i, Registers& r) {
    r[i.dst] = std::rotl(static_cast<Unsigned<width>>(r[i.src]), static_cast<int>(i.imm));
  }
};

template <AluOp op, unsigned width>
struct Division {
  static void run(const Step& i, Registers& r) {
    r[i.dst] =
        divide_by_magic<op>(static_cast<Unsigned<width>>(r[i.src]), {i.imm, i.scale, i.index != 0}, i.off);
  }
};

template <Condition condition, unsigned width, Source source>
struct Select {
  static void run(const Step& i, Registers& r) {
    using T = Unsigned<width>;
    const uint64_t value = r[i.scale] + offset(i);
    const uint64_t kept = r[i.dst];
    r[i.dst] = isa::holds<condition>(static_cast<T>(r[i.index]), operand<T, source>(i, r)) ? value : kept;
  }
};

template <unsigned width, Source source>
struct SelectClear {
  static void run(const Step& i, Registers& r) {
    using T = Unsigned<width>;
    const uint64_t value = r[i.scale] + offset(i);
    const uint64_t kept = r[i.dst];
    const bool set = isa::holds<Condition::kSet>(static_cast<T>(r[i.index]), operand<T, source>(i, r));
    r[i.dst] = set ? kept : value;
  }
};

struct LoadImmediate {
  static void run(const Step& i, Registers& r) { r[i.dst] = i.imm; }
};

template <Condition condition, unsigned width, Source source>
struct Jump {
  static bool taken(const Step& i, const Registers& r) {
    using T = Unsigned<width>;
    return isa::holds<condition>(static_cast<T>(r[i.dst]), operand<T, source>(i, r));
  }
};

template <unsigned width, Source source>
struct JumpClear {
  static bool taken(const Step& i, const Registers& r) {
    return !Jump<Condition::kSet, width, source>::taken(i, r);
  }
};

struct Goto {
  static bool taken(const Step&, const Registers&) { return true; }
};

// Where an access is: at the register of its operand, with an index or without.
template <bool write, bool is_indexed>
struct At {
  static uint64_t address(const Step& i, const Registers& r) {
    const uint64_t base = r[write ? i.dst : i.src];
    return is_indexed ? indexed(i, r, base) : base + offset(i);
  }
};

template <unsigned width, Sign sign, bool is_indexed = false>
struct Load : At<false, is_indexed> {
  static constexpr uint8_t kBytes = width / 8;
  static constexpr bool kWrite = false;
  static constexpr bool kAligned = false;
  static void access(const Step& i, Registers& r, uint64_t address) {
    const auto value = load<Unsigned<width>>(address);
    if constexpr (sign == Sign::kSigned)
      r[i.dst] = isa::sign_extend<typename Bits<width>::Signed>(static_cast<uint64_t>(value));
    else
      r[i.dst] = value;
  }
};

template <unsigned width>
struct LoadSwapped : At<false, true> {
  static constexpr uint8_t kBytes = width / 8;
  static constexpr bool kWrite = false;
  static constexpr bool kAligned = false;
  static void access(const Step& i, Registers& r, uint64_t address) {
    r[i.dst] = isa::byte_swap(uint64_t{load<Unsigned<width>>(address)}, width);
  }
};

template <unsigned width, Source source, bool is_indexed = false>
struct Store : At<true, is_indexed> {
  static constexpr uint8_t kBytes = width / 8;
  static constexpr bool kWrite = true;
  static constexpr bool kAligned = false;
  static void access(const Step& i, Registers& r, uint64_t address) {
    using T = Unsigned<width>;
    store<T>(address, operand<T, source>(i, r));
  }
};

template <unsigned width>
struct StoreSwapped : At<true, true> {
  static constexpr uint8_t kBytes = width / 8;
  static constexpr bool kWrite = true;
  static constexpr bool kAligned = false;
  static void access(const Step& i, Registers& r, uint64_t address) {
    using T = Unsigned<width>;
    store<T>(address, static_cast<T>(isa::byte_swap(r[i.src], width)));
  }
};

template <AtomicOp op, unsigned width>
struct Atomic : At<true, false> {
  static constexpr uint8_t kBytes = width / 8;
  static constexpr bool kWrite = true;
  static constexpr bool kAligned = true;
  static void access(const Step& i, Registers& r, uint64_t address) {
    using T = Unsigned<width>;
    const T old = atomic_update<op>(address, static_cast<T>(r[i.src]), static_cast<T>(r[0]));
    if constexpr (op == AtomicOp::kCmpxchg)
      r[0] = old;
    else if constexpr (isa::fetches(op))
      r[i.src] = old;
  }
};

template <Direction direction, unsigned width>
struct Ordered : At<direction == Direction::kStore, false> {
  static constexpr uint8_t kBytes = width / 8;
  static constexpr bool kWrite = direction == Direction::kStore;
  static constexpr bool kAligned = true;
  // Pairs with the store-release or load-acquire that the program does on another CPU.
  static void access(const Step& i, Registers& r, uint64_t address) {
    using T = Unsigned<width>;
    if constexpr (kWrite)
      __atomic_store_n(reinterpret_cast<T*>(address), static_cast<T>(r[i.src]), __ATOMIC_RELEASE);
    else
      r[i.dst] = __atomic_load_n(reinterpret_cast<const T*>(address), __ATOMIC_ACQUIRE);
  }
};

}  // namespace skep::vm::interpreter
