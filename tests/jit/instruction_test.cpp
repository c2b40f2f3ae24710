#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <initializer_list>

#include "engine_pair.hpp"
#include "isa/instruction.hpp"

// Every row of the instruction table, in every way its operands can fall together, on both engines.
namespace skep::jit {
namespace {

using isa::Class;
using isa::Instruction;
using isa::Op;
using isa::Row;
using isa::Source;
using vm::Mode;

constexpr uint8_t kFrame = isa::kFramePointer;

// r0 to r9, as the program under test finds them.
using Registers = std::array<uint64_t, 10>;

constexpr uint64_t kEdges[] = {0,
                               1,
                               2,
                               7,
                               31,
                               32,
                               63,
                               64,
                               0x7f,
                               0x80,
                               0x7fff,
                               0x8000,
                               0x7fffffff,
                               0x80000000,
                               0xffffffff,
                               0x100000000,
                               0x123456789abcdef0,
                               0x7fffffffffffffff,
                               0x8000000000000000,
                               0xffffffff80000000,
                               0xffffffffffffffff};
constexpr int32_t kImmediates[] = {0,  1,  2,   3,    8,      16,     31,         32,         33,
                                   63, 64, 127, -128, 0x7fff, 0x8000, 0x40000000, 0x7fffffff, -0x7fffffff - 1,
                                   -1, -2, -7};

std::vector<std::byte> bytes_of(const Registers& registers) {
  std::vector<std::byte> bytes(sizeof registers);
  std::memcpy(bytes.data(), registers.data(), sizeof registers);
  return bytes;
}

// Registers loaded from the raw memory, the instructions, and all registers stored to the stack.
std::vector<Instruction> between_load_and_store(const std::vector<Instruction>& body) {
  std::vector<Instruction> out;
  for (const uint8_t r : std::initializer_list<uint8_t>{0, 2, 3, 4, 5, 6, 7, 8, 9, 1})
    out.push_back({Op::kLdx64, r, 1, static_cast<int16_t>(8 * r), 0, 0});
  out.insert(out.end(), body.begin(), body.end());
  for (uint8_t r = 0; r < 10; ++r)
    out.push_back({Op::kStx64, kFrame, r, static_cast<int16_t>(-256 - 8 * r), 0, 0});
  out.push_back({Op::kExit, 0, 0, 0, 0, 0});
  return out;
}

class EveryInstruction : public testing::TestWithParam<Row> {
 protected:
  const Row& row() const { return GetParam(); }

  void run(const std::vector<Instruction>& program, const std::vector<Registers>& inputs,
           std::span<const Mode> modes = kModes) {
    const auto loaded = pair_.load(program);
    ASSERT_NE(loaded, nullptr);
    for (const Registers& input : inputs) {
      pair_.set_memory(bytes_of(input));
      for (const Mode mode : modes) pair_.run_both(*loaded, mode);
      if (HasFailure()) return;
    }
    ++programs_;
  }

  // For calls, after which r1 to r5 read as 0 in checked mode; a verified program does not read them.
  void run_call(std::vector<Instruction> body, const Registers& input,
                const std::vector<Instruction>& callee = {}) {
    static constexpr Mode kChecked[] = {Mode::kChecked};
    static constexpr Mode kVerified[] = {Mode::kVerified};
    const auto with_callee = [&] {
      auto program = between_load_and_store(body);
      program.insert(program.end(), callee.begin(), callee.end());
      return program;
    };
    run(with_callee(), {input}, kChecked);
    for (uint8_t r = 1; r <= 5; ++r) body.push_back({Op::kMov64Imm, r, 0, 0, 0, 0});
    if (!callee.empty()) body.front().imm += 5;
    run(with_callee(), {input}, kVerified);
  }

  static Registers numbered() {
    Registers r{};
    for (size_t n = 0; n < r.size(); ++n) r[n] = 0xa0a1a2a3a4a5a6a0 + n;
    return r;
  }
  static std::vector<Registers> values_in(uint8_t dst, uint8_t src) {
    std::vector<Registers> out;
    for (size_t n = 0; n < std::size(kEdges); ++n) {
      for (const size_t step : {0u, 1u, 5u, 8u, 20u}) {
        Registers r = numbered();
        if (dst < 10) r[dst] = kEdges[n];
        if (src < 10) r[src] = kEdges[(n + step) % std::size(kEdges)];
        out.push_back(r);
        if (src == dst || src == kFrame) break;
      }
    }
    return out;
  }

  void arithmetic() {
    for (uint8_t dst = 0; dst < 10; ++dst) {
      if (row().source == Source::kReg) {
        for (uint8_t src = 0; src <= 10; ++src)
          run(between_load_and_store({{row().op, dst, src, 0, 0, 0}}), values_in(dst, src));
      } else if (row().source == Source::kImm) {
        for (const int32_t imm : kImmediates)
          run(between_load_and_store({{row().op, dst, 0, 0, 0, imm}}), values_in(dst, dst));
      } else {
        run(between_load_and_store({{row().op, dst, 0, 0, 0, 0}}), values_in(dst, dst));
      }
    }
  }

  // Ahead, and back to a second instruction that leaves.
  void conditional_jump() {
    for (uint8_t dst = 0; dst < 10; ++dst) {
      const auto with = [&](uint8_t src, int32_t imm) {
        run(between_load_and_store({{row().op, dst, src, 1, 0, imm}, {Op::kMov64Imm, dst, 0, 0, 0, 77}}),
            values_in(dst, row().source == Source::kImm ? dst : src));
        run(between_load_and_store({{Op::kGoto, 0, 0, 2, 0, 0},
                                    {Op::kMov64Imm, dst, 0, 0, 0, 77},
                                    {Op::kGoto, 0, 0, 1, 0, 0},
                                    {row().op, dst, src, -3, 0, imm}}),
            values_in(dst, dst));
      };
      if (row().source == Source::kImm)
        for (const int32_t imm : kImmediates) with(0, imm);
      else
        for (uint8_t src = 0; src <= 10; ++src) with(src, 0);
    }
  }

  // On the frame, which needs no check, and through a pointer into it, which does.
  void memory(bool dst_is_base) {
    const bool stores_immediate = row().cls == Class::kStore && row().source == Source::kImm;
    const auto instruction = [&](uint8_t base, uint8_t other, int16_t off, int64_t imm) -> Instruction {
      if (stores_immediate) return {row().op, base, 0, off, 0, imm};
      return dst_is_base ? Instruction{row().op, base, other, off, 0, 0}
                         : Instruction{row().op, other, base, off, 0, 0};
    };
    const std::vector<Registers> inputs = {numbered(), {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {~0ull, 1ull << 63}};
    for (uint8_t other = 0; other < 10; ++other) {
      // The cell holds r0 at first, so that half of the exchanges succeed.
      const Instruction fill{Op::kStx64, kFrame, static_cast<uint8_t>(other % 2), -16, 0, 0};
      run(between_load_and_store({fill, instruction(kFrame, other, -16, kImmediates[other])}), inputs);
      for (uint8_t base = 0; base < 10; ++base)
        run(between_load_and_store({fill,
                                    {Op::kMov64Reg, base, kFrame, 0, 0, 0},
                                    {Op::kAdd64Imm, base, 0, 0, 0, -24},
                                    instruction(base, other, 8, kImmediates[other]),
                                    {Op::kSub64Reg, base, kFrame, 0, 0, 0}}),
            inputs);
    }
  }

  void immediate() {
    for (uint8_t dst = 0; dst < 10; ++dst) {
      if (row().op == Op::kLdImm64) {
        for (const uint64_t value : kEdges)
          run(between_load_and_store({{row().op, dst, 0, 0, 0, static_cast<int64_t>(value)}}), {numbered()});
      } else if (row().op == Op::kLdFunc) {
        auto program = between_load_and_store({{row().op, dst, 0, 0, 0, 12}});
        program.push_back({Op::kExit, 0, 0, 0, 0, 0});
        run(program, {numbered()});
      } else if (row().op != Op::kLdBtfId) {
        const int map = pair_.add_map(
            {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 16, .max_entries = 1, .name = "m"});
        const bool value = row().op == Op::kLdMapValue || row().op == Op::kLdMapIdxValue;
        const int64_t offset = value ? int64_t{8} << 32 : 0;
        std::vector<Instruction> body{{row().op, dst, 0, 0, 0, offset | map}};
        if (value) body.push_back({Op::kLdx64, dst, dst, 0, 0, 0});
        run(between_load_and_store(body), {numbered()});
      }
    }
  }

  void packet() {
    for (const int32_t at : {0, 3, 72, 76, 78, 79, 80, -1, -0x7fffffff - 1}) {
      for (uint8_t src = 0; src < 10; ++src) {
        const bool indirect = row().packet_mode() == isa::PacketMode::kInd;
        Registers r = numbered();
        r[src] = 0xffffffff00000000 + static_cast<uint32_t>(int64_t{at} - 4);
        if (indirect)
          run_call({{row().op, 0, src, 0, 0, 4}}, r);
        else
          run_call({{row().op, 0, 0, 0, 0, at}}, r);
      }
    }
  }

  void control() {
    const auto body = [this](const std::vector<Instruction>& instructions) {
      run(between_load_and_store(instructions), {numbered()});
    };
    const Instruction skipped{Op::kMov64Imm, 0, 0, 0, 0, 1};
    const Op op = row().op;
    if (op == Op::kGoto || op == Op::kMayGoto) body({{op, 0, 0, 1, 0, 0}, skipped});
    if (op == Op::kGotol) body({{op, 0, 0, 0, 0, 1}, skipped});
    if (op == Op::kExit) body({{Op::kJeq64Imm, 1, 0, 1, 0, 1}, {op, 0, 0, 0, 0, 0}});
    if (op == Op::kCallHelper) run_call({{op, 0, 0, 0, 0, 1}}, numbered());
    if (op == Op::kCallReg)
      for (uint8_t r = 0; r < 10; ++r)
        run_call({{Op::kMov64Imm, r, 0, 0, 0, 1}, {op, r, 0, 0, 0, 0}}, numbered());
    if (op == Op::kCallLocal) local_call();
  }

  void local_call() {
    std::vector<Instruction> callee;
    callee.reserve(12);
    for (uint8_t r = 0; r < 10; ++r) callee.push_back({Op::kAdd64Imm, r, 0, 0, 0, r + 1});
    callee.push_back({Op::kStx64, kFrame, 6, -8, 0, 0});
    callee.push_back({Op::kExit, 0, 0, 0, 0, 0});
    run_call({{row().op, 0, 0, 0, 0, 11}}, numbered(), callee);
  }

  void exercise() {
    switch (row().cls) {
      case Class::kAlu:
        return arithmetic();
      case Class::kJump:
        return conditional_jump();
      case Class::kLoad:
        return memory(false);
      case Class::kStore:
      case Class::kAtomic:
        return memory(true);
      case Class::kOrdered:
        return memory(row().direction() == isa::Direction::kStore);
      case Class::kLdImm:
        return immediate();
      case Class::kPacket:
        return packet();
      case Class::kControl:
        return control();
    }
  }

  static uint64_t sum(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, vm::Cpu&) {
    return a + 2 * b + 4 * c + 8 * d + 16 * e;
  }

  EnginePair pair_{{{.id = 1,
                     .name = "sum",
                     .arguments = {vm::Argument::kAnything, vm::Argument::kAnything, vm::Argument::kAnything,
                                   vm::Argument::kAnything, vm::Argument::kAnything},
                     .function = sum}}};
  unsigned programs_ = 0;
};

TEST_P(EveryInstruction, DoesOnTheJitWhatItDoesOnTheInterpreter) {
  exercise();
  const bool refused = row().op == Op::kCallKfunc || row().op == Op::kLdBtfId;
  EXPECT_EQ(programs_ == 0, refused) << programs_;
}

INSTANTIATE_TEST_SUITE_P(Table, EveryInstruction, testing::ValuesIn(isa::rows().begin(), isa::rows().end()),
                         [](const auto& instance) { return instance.param.name; });

TEST(Shifts, WithoutBmi2) {
  EnginePair pair({}, {.use_bmi2 = false});
  for (const Op op :
       {Op::kLsh64Reg, Op::kLsh32Reg, Op::kRsh64Reg, Op::kRsh32Reg, Op::kArsh64Reg, Op::kArsh32Reg})
    for (uint8_t dst = 0; dst < 10; ++dst)
      for (uint8_t src = 0; src < 10; ++src) {
        const auto program = pair.load(between_load_and_store({{op, dst, src, 0, 0, 0}}));
        for (const uint64_t count : {0u, 1u, 31u, 32u, 63u, 64u, 255u}) {
          Registers r{0x8123456789abcdef, 2, 0xf3, 4, 5, 6, 7, 8, 9, 10};
          r[src] = 0xff00 + count;
          pair.set_memory(bytes_of(r));
          pair.run_both(*program);
        }
      }
}

// Results written down from RFC 9669.
struct Known {
  const char* text;
  uint64_t r0;
};

class KnownResult : public testing::TestWithParam<Known> {};

TEST_P(KnownResult, OnTheJit) {
  EnginePair pair;
  const auto program = pair.load(std::string(GetParam().text) + "\nexit");
  ASSERT_NE(program, nullptr);
  for (const Mode mode : kModes) {
    const Outcome out = pair.run(*program, vm::EngineKind::kJit, mode);
    EXPECT_FALSE(out.faulted);
    EXPECT_EQ(out.r0, GetParam().r0) << GetParam().text;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rfc9669, KnownResult,
    testing::Values(
        Known{"r0 = -1\nw0 += 1", 0}, Known{"r0 = -1\nw0 = w0", 0xffffffff},
        Known{"r0 = 7\nr1 = 0\nr0 /= r1", 0}, Known{"r0 = 7\nr1 = 0\nr0 %= r1", 7},
        Known{"r0 = -1\nr1 = 0\nw0 %= w1", 0xffffffff}, Known{"r0 = -1\nr1 = 0\nw0 /= w1", 0},
        Known{"r0 = -1\nr0 /= 2", 0x7fffffffffffffff}, Known{"r0 = -13\nr0 s/= 3", 0xfffffffffffffffc},
        Known{"r0 = -13\nr0 s%= 3", 0xffffffffffffffff}, Known{"r0 = 13\nr0 s%= -3", 1},
        Known{"r0 = 0x8000000000000000 ll\nr1 = -1\nr0 s/= r1", 0x8000000000000000},
        Known{"r0 = 0x8000000000000000 ll\nr1 = -1\nr0 s%= r1", 0},
        Known{"w0 = 0x80000000\nw1 = -1\nw0 s/= w1", 0x80000000},
        Known{"w0 = 0x80000000\nw1 = -1\nw0 s%= w1", 0}, Known{"r0 = 5\nr1 = 0\nr0 s/= r1", 0},
        Known{"r0 = -5\nr1 = 0\nr0 s%= r1", 0xfffffffffffffffb}, Known{"r0 = 1\nr1 = 65\nr0 <<= r1", 2},
        Known{"r0 = -1\nr1 = 32\nw0 <<= w1", 0xffffffff}, Known{"r0 = -1\nw0 <<= 0", 0xffffffff},
        Known{"r0 = -16\nr0 s>>= 2", 0xfffffffffffffffc}, Known{"w0 = -16\nw0 s>>= 2", 0xfffffffc},
        Known{"r0 = 0x1122334455667788 ll\nr0 = be16 r0", 0x8877},
        Known{"r0 = 0x1122334455667788 ll\nr0 = be32 r0", 0x88776655},
        Known{"r0 = 0x1122334455667788 ll\nr0 = be64 r0", 0x8877665544332211},
        Known{"r0 = 0x1122334455667788 ll\nr0 = le16 r0", 0x7788},
        Known{"r0 = 0x1122334455667788 ll\nr0 = bswap32 r0", 0x88776655},
        Known{"r1 = 0x80\nr0 = (s8)r1", 0xffffffffffffff80}, Known{"r1 = 0x80\nw0 = (s8)w1", 0xffffff80},
        Known{"r0 = -1\nif r0 > 1 goto +1\nr0 = 3", 0xffffffffffffffff},
        Known{"r0 = -1\nif r0 s> 1 goto +1\nr0 = 3", 3},
        Known{"*(u64 *)(r10 - 8) = -2\nr0 = *(s32 *)(r10 - 4)", 0xffffffffffffffff},
        Known{"*(u64 *)(r10 - 8) = -2\nr0 = *(u16 *)(r10 - 8)", 0xfffe},
        Known{"r1 = 6\n*(u64 *)(r10 - 8) = 5\nr1 = atomic_fetch_or((u64 *)(r10 - 8), r1)\n"
              "r0 = *(u64 *)(r10 - 8)\nr0 <<= 8\nr0 |= r1",
              0x705},
        Known{"r1 = 9\nr0 = -1\n*(u32 *)(r10 - 8) = -1\nw0 = cmpxchg32_32(r10 - 8, w0, w1)", 0xffffffff}));

}  // namespace
}  // namespace skep::jit
