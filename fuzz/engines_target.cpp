#include <linux/bpf.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <vector>

#include "fuzz/choices.hpp"
#include "fuzz/generated_program.hpp"
#include "fuzz/plain_helpers.hpp"
#include "fuzz/raw_machine.hpp"
#include "fuzz/target.hpp"
#include "helpers/helpers.hpp"
#include "isa/assemble.hpp"

// Interpreter and JIT, with every pass, with the passes the input names and with none, have to leave the same
// registers, stack, memory, maps, fuel and faults. An input is a header and a program: choices for the
// generator, or plain bytecode, which is refused, faults or finishes.
namespace skep::fuzz {
namespace {

using vm::EngineKind;
using vm::Mode;
using vm::PassSet;

struct Header {
  uint8_t kind;        // 0 modulo 8: bytecode
  uint8_t jit;         // bits: without BMI2, without MOVBE, aligned loops, constants blinded, retpolines
  uint8_t fuel;        // few units, or enough
  uint8_t memory;      // what the memory is filled with
  uint32_t pass_bits;  // of the passes that are on in one of the runs
};
static_assert(sizeof(Header) == 8);

constexpr size_t kJitOptions = 32;  // all of Header::jit's
constexpr uint32_t kMemorySize = 64;

// Helpers whose result depends on nothing but the state that a run begins in: an updated element of a hash
// table lies where earlier runs left room.
std::vector<vm::HelperRow> helpers() {
  std::vector<vm::HelperRow> rows = plain_helpers();
  for (const vm::HelperRow& row : helpers::builtin_helpers()) {
    switch (row.id) {
      case BPF_FUNC_map_lookup_elem:
      case BPF_FUNC_map_lookup_percpu_elem:
      case BPF_FUNC_for_each_map_elem:
      case BPF_FUNC_get_smp_processor_id:
      case BPF_FUNC_tail_call:
      case BPF_FUNC_loop:
      case BPF_FUNC_strncmp:
      case BPF_FUNC_csum_diff:
        rows.push_back(row);
        break;
      default:
        break;
    }
  }
  return rows;
}

// A machine for one set of the JIT's options, and what its programs may name.
class Subject {
 public:
  explicit Subject(unsigned options)
      : machine_(helpers(),
                 {.use_bmi2 = (options & 1) == 0,
                  .use_movbe = (options & 2) == 0,
                  .loop_alignment = (options & 4) == 0 ? 0U : 16U,
                  .blind_constants = (options & 8) != 0,
                  .retpolines = (options & 16) != 0,
                  .seed = options},
                 1) {
    const auto add = [this](uint32_t type, uint32_t value_size) {
      return machine_.add_map(
          {.type = type, .key_size = 4, .value_size = value_size, .max_entries = 4, .name = "map"});
    };
    maps_ = {.array = add(BPF_MAP_TYPE_ARRAY, 8),
             .percpu_array = add(BPF_MAP_TYPE_PERCPU_ARRAY, 8),
             .hash = add(BPF_MAP_TYPE_HASH, 8),
             .programs = add(BPF_MAP_TYPE_PROG_ARRAY, 4)};
    for (const uint32_t key : {0U, 1U, 3U}) machine_.add_element(maps_.hash, key);
    machine_.reset_maps(true);
    // Tail calls lead to the program itself, to this one, or nowhere.
    put_program(
        1,
        machine_.load(isa::encode(*isa::assemble("r6 = 1\nr0 = *(u8 *)(r1 + 3)\nr0 += r6\nexit"))).value());
  }

  RawMachine& machine() { return machine_; }
  const GeneratedMaps& maps() const { return maps_; }

  void put_program(uint32_t index, const std::shared_ptr<vm::Program>& program) {
    const skep::maps::EpochDomain::TaskGuard guard(machine_.machine().epochs());
    machine_.map(maps_.programs).set_object(index, program);
  }

  // The outcome, whichever of its forms the program is loaded in.
  Outcome run(const std::shared_ptr<vm::Program>& program, EngineKind engine, Mode mode, uint64_t fuel) {
    put_program(0, program);
    Outcome out = machine_.run(*program, engine, mode, fuel);
    if (out.program == program.get()) out.program = nullptr;
    put_program(0, nullptr);
    return out;
  }

 private:
  RawMachine machine_;
  GeneratedMaps maps_;
};

// libFuzzer's entry point has no argument to keep them in.
Subject& subject(unsigned options) {
  static std::array<std::unique_ptr<Subject>, kJitOptions> subjects;
  if (!subjects[options]) subjects[options] = std::make_unique<Subject>(options);
  return *subjects[options];
}

class Comparison {
 public:
  Comparison(Subject& subject, const std::vector<isa::Encoded>& code, const Header& header)
      : subject_(subject), fuel_(header.fuel < 64 ? header.fuel * 4U : 3000U) {
    for (const PassSet passes : {PassSet::none(), PassSet::from_bits(header.pass_bits), PassSet::all()}) {
      auto program = subject.machine().load(code, passes);
      if (!program && !forms_.empty())
        report("admitted without passes, refused with them: " + program.error().message);
      if (!program) return;
      forms_.push_back(*program);
    }
  }

  // Every form on both engines; the outcome. Programs that are refused come to nothing.
  Outcome run(Mode mode) {
    if (forms_.empty()) return {.faulted = true};
    const Outcome expected = subject_.run(forms_.front(), EngineKind::kInterpreter, mode, fuel_);
    for (const auto& form : forms_)
      for (const EngineKind engine : {EngineKind::kInterpreter, EngineKind::kJit})
        expect_equal(subject_.run(form, engine, mode, fuel_), expected, form == forms_.front(), engine, mode);
    return expected;
  }

  // Without the checks it does what it did with them; they alone cost fuel.
  void run_verified(Outcome checked) {
    Outcome verified = run(Mode::kVerified);
    checked.fuel = verified.fuel = 0;
    expect_equal(verified, checked, true, EngineKind::kInterpreter, Mode::kVerified);
  }

 private:
  void expect_equal(const Outcome& actual, const Outcome& expected, bool plain, EngineKind engine,
                    Mode mode) const {
    if (actual == expected) return;
    std::cerr << (engine == EngineKind::kJit ? "JIT" : "interpreter")
              << (mode == Mode::kChecked ? ", checked" : ", verified")
              << (plain ? ", no passes" : ", with passes") << "\nexpected " << expected << "\nactual "
              << actual << "\n";
    report("the outcome differs");
  }
  [[noreturn]] void report(const std::string& what) const {
    if (!forms_.empty()) std::cerr << text_of(forms_.front()->instructions());
    std::cerr << what << '\n';
    std::abort();
  }

  Subject& subject_;
  uint64_t fuel_;
  std::vector<std::shared_ptr<vm::Program>> forms_;
};

std::vector<isa::Encoded> bytecode(std::span<const uint8_t> bytes) {
  std::vector<isa::Encoded> code(bytes.size() / sizeof(isa::Encoded));
  if (!code.empty()) std::memcpy(code.data(), bytes.data(), code.size() * sizeof(isa::Encoded));
  return code;
}

std::vector<std::byte> memory(uint8_t seed) {
  vm::Random random(seed);
  std::vector<std::byte> bytes(kMemorySize);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

}  // namespace

void run_input(std::span<const uint8_t> input) {
  Header header{};
  if (input.size() < sizeof header) return;
  std::memcpy(&header, input.data(), sizeof header);
  input = input.subspan(sizeof header);
  Subject& machine = subject(header.jit % kJitOptions);
  machine.machine().set_memory(memory(header.memory));
  if (header.kind % 8 == 0) {
    Comparison(machine, bytecode(input), header).run(Mode::kChecked);
    return;
  }
  const bool initialised = header.kind % 8 >= 3;
  ByteChoices choices(input);
  Comparison comparison(machine,
                        isa::encode(generated_program(choices, {.length = 40,
                                                                .functions = 4,
                                                                .memory_size = kMemorySize,
                                                                .plain_helper = kMix,
                                                                .callback_helper = kCallTwice,
                                                                .kernel_helpers = true,
                                                                .maps = machine.maps(),
                                                                .initialised = initialised})),
                        header);
  const Outcome checked = comparison.run(Mode::kChecked);
  if (!checked.faulted && initialised) comparison.run_verified(checked);
}

}  // namespace skep::fuzz
