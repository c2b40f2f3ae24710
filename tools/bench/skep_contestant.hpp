#pragma once

#include "skep/machine.hpp"
#include "tools/bench/contestant.hpp"
#include "tools/command.hpp"

namespace skep::tools {

// A program in one of skep's engines, loaded into a machine of its own. It runs on CPU 0. Everything that
// times skep's runs is here.
class SkepContestant final : public Contestant {
 public:
  static Result<std::unique_ptr<SkepContestant>> load(const ObjectArguments& object,
                                                      const MachineOptions& machine);

  const std::string& name() const override { return name_; }
  const Program& program() const { return program_; }
  EngineFacts facts() const override;
  Result<Observation> observe(const Packet& input) override;
  Result<double> time(std::span<const Packet> inputs, uint64_t passes) override;

 private:
  SkepContestant(std::string name, Machine machine, Program program)
      : name_(std::move(name)), machine_(std::move(machine)), program_(std::move(program)) {}

  std::string name_;
  Machine machine_;
  Program program_;
};

}  // namespace skep::tools
