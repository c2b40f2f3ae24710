#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "isa/instruction.hpp"
#include "jit/jit.hpp"
#include "maps/map.hpp"
#include "vm/machine.hpp"
#include "vm/program.hpp"
#include "vm/run.hpp"

namespace skep::fuzz {

// All that a run leaves behind.
struct Outcome {
  uint64_t r0 = 0;
  bool faulted = false;
  vm::FaultKind kind = vm::FaultKind::kNone;
  bool write = false;
  uint32_t slot = 0;
  const vm::Program* program = nullptr;
  uint64_t address = 0;
  uint64_t size = 0;
  std::string helper = {};
  int64_t fuel = 0;
  uint32_t tail_calls = 0;
  std::vector<std::byte> memory = {};
  std::vector<std::byte> stack = {};
  std::vector<std::byte> maps = {};  // keys and values, map after map

  friend bool operator==(const Outcome&, const Outcome&) = default;
};
std::ostream& operator<<(std::ostream& out, const Outcome& outcome);

// A machine whose raw programs run on either engine from one state: the same CPU, the same memory, stack and
// maps. Driven by one thread.
class RawMachine {
 public:
  static constexpr uint64_t kFuel = 100'000;

  // Runs are made on the CPU of that number, the machine's last.
  explicit RawMachine(std::span<const vm::HelperRow> helpers, const jit::JitOptions& options = {},
                      unsigned cpu = 0);

  Result<std::shared_ptr<vm::Program>> load(std::vector<isa::Encoded> code,
                                            vm::PassSet passes = vm::PassSet::all());
  // A map that programs name by the number returned (map_by_fd(N)); throws where the map is refused.
  int add_map(const maps::MapSpec& spec);
  maps::Map& map(int number) { return *maps_[static_cast<size_t>(number)]; }
  // To a map with keys of 4 bytes, with a value of zeroes.
  void add_element(int map_number, uint32_t key);
  // Zeroes the values of the maps' elements before each run, and makes them part of the outcome. Elements
  // stay where they are: where new ones would go hangs on what ran before.
  void reset_maps(bool yes) { reset_maps_ = yes; }

  // What raw programs get; every run begins with these bytes.
  void set_memory(std::vector<std::byte> bytes);
  std::span<std::byte> memory() { return memory_; }

  Outcome run(const vm::Program& program, vm::EngineKind engine, vm::Mode mode = vm::Mode::kChecked,
              uint64_t fuel = kFuel);

  vm::Machine& machine() { return *machine_; }
  vm::Cpu& cpu() { return machine_->cpu(machine_->cpus() - 1); }

 private:
  void clear_maps();
  std::vector<std::byte> map_contents();

  std::unique_ptr<vm::Machine> machine_;
  std::vector<std::shared_ptr<maps::Map>> maps_;
  bool reset_maps_ = false;
  std::vector<std::byte> initial_;
  std::vector<std::byte> memory_;
};

std::string text_of(std::span<const isa::Instruction> program);

}  // namespace skep::fuzz
