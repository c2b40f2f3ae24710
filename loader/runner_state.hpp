#pragma once

#include <memory>
#include <string>

#include "loader/object_state.hpp"
#include "loader/program_runner.hpp"
#include "skep/machine.hpp"

namespace skep {

struct Runner::State {
  State(std::shared_ptr<ObjectState> from, std::shared_ptr<vm::Program> what, std::string called,
        vm::Cpu& cpu, const vm::CpuLock& lock)
      : object(std::move(from)),
        program(std::move(what)),
        name(std::move(called)),
        hold(cpu, lock),
        runner(cpu, *program, name) {}

  std::shared_ptr<ObjectState> object;
  std::shared_ptr<vm::Program> program;
  std::string name;
  vm::CpuHold hold;
  loader::ProgramRunner runner;
};

}  // namespace skep
