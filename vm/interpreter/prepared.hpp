#pragma once

#include <memory>
#include <vector>

#include "vm/engine.hpp"
#include "vm/interpreter/known_calls.hpp"
#include "vm/interpreter/step.hpp"

namespace skep::vm::interpreter {

// A program's steps, index for index with Program::optimized(mode); behind them the second steps of loops.
class Prepared final : public Executable {
 public:
  Prepared(const Program& program, Mode mode);

  uint64_t call(Cpu& cpu, const Subprogram& function, const Arguments& arguments) const override;
  EntryFunction entry() const override;
  const void* tail_entry() const override { return first(); }

  const Step* first() const { return steps_.get(); }

 private:
  const Code& code_;
  Mode mode_;
  std::vector<Lookup> lookups_;  // index for index with Code::known_calls
  std::unique_ptr<Step[]> steps_;
};

// Where a program of this machine begins.
template <Mode mode>
const Step* first_step(const Program& program) {
  return static_cast<const Prepared&>(program.executable(EngineKind::kInterpreter, mode)).first();
}

}  // namespace skep::vm::interpreter
