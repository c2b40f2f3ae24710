#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "fuzz/raw_machine.hpp"

namespace skep::jit {

using fuzz::Outcome;
using fuzz::text_of;

// Those of the JIT under test: its defaults or, where SKEP_TEST_JIT is "hardened", with constants blinded and
// retpolines.
JitOptions default_jit_options();

// A machine for raw programs that fails the test where something is refused or its engines differ.
class EnginePair : public fuzz::RawMachine {
 public:
  explicit EnginePair(std::vector<vm::HelperRow> helpers = {},
                      const JitOptions& options = default_jit_options(), unsigned cpu = 0)
      : RawMachine(helpers, options, cpu) {}

  std::shared_ptr<vm::Program> load(std::span<const isa::Instruction> instructions,
                                    vm::PassSet passes = vm::PassSet::all());
  std::shared_ptr<vm::Program> load(std::string_view text, vm::PassSet passes = vm::PassSet::all());

  // Runs on both engines, expects that nothing differs, and returns what came out.
  Outcome run_both(const vm::Program& program, vm::Mode mode = vm::Mode::kChecked, uint64_t fuel = kFuel);
  Outcome run_both(std::string_view text, vm::Mode mode = vm::Mode::kChecked, uint64_t fuel = kFuel);
};

inline constexpr vm::Mode kModes[] = {vm::Mode::kVerified, vm::Mode::kChecked};

}  // namespace skep::jit
