#include "engine_pair.hpp"

#include <cstdlib>

#include "isa/assemble.hpp"

namespace skep::jit {

JitOptions default_jit_options() {
  const char* name = std::getenv("SKEP_TEST_JIT");
  const bool hardened = name != nullptr && std::string_view(name) == "hardened";
  return {.blind_constants = hardened, .retpolines = hardened};
}

std::shared_ptr<vm::Program> EnginePair::load(std::span<const isa::Instruction> instructions,
                                              vm::PassSet passes) {
  auto program = RawMachine::load(isa::encode(instructions), passes);
  if (!program) {
    ADD_FAILURE() << program.error().message << "\n" << text_of(instructions);
    return nullptr;
  }
  return *program;
}

std::shared_ptr<vm::Program> EnginePair::load(std::string_view text, vm::PassSet passes) {
  const auto instructions = isa::assemble(text);
  if (!instructions) {
    ADD_FAILURE() << "line " << instructions.error().line << ": " << instructions.error().message;
    return nullptr;
  }
  return load(*instructions, passes);
}

Outcome EnginePair::run_both(const vm::Program& program, vm::Mode mode, uint64_t fuel) {
  const Outcome expected = run(program, vm::EngineKind::kInterpreter, mode, fuel);
  Outcome actual = run(program, vm::EngineKind::kJit, mode, fuel);
  EXPECT_EQ(actual, expected) << "mode " << static_cast<int>(mode) << "\n" << text_of(program.instructions());
  return actual;
}

Outcome EnginePair::run_both(std::string_view text, vm::Mode mode, uint64_t fuel) {
  const auto program = load(text);
  return program ? run_both(*program, mode, fuel) : Outcome{};
}

}  // namespace skep::jit
