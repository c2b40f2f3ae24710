#include "engine_pair.hpp"

#include <algorithm>

#include "isa/assemble.hpp"
#include "isa/disassemble.hpp"
#include "vm/interpreter.hpp"
#include "vm/program_type.hpp"

namespace skep::jit {

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  out << std::hex << "r0 " << o.r0 << " fuel " << o.fuel;
  if (o.faulted)
    out << " fault " << vm::fault_kind_name(o.kind) << std::dec << " pc " << o.slot << std::hex << " address "
        << o.address << " size " << o.size << (o.write ? " write" : "") << " " << o.helper << " program "
        << o.program;
  const auto words = [&](const char* name, const std::vector<std::byte>& bytes) {
    out << "\n" << name;
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      uint64_t word = 0;
      std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(i), 8, reinterpret_cast<std::byte*>(&word));
      if (word != 0) out << " " << i << ":" << word;
    }
  };
  words("memory", o.memory);
  words("stack", o.stack);
  return out << std::dec;
}

EnginePair::EnginePair(std::vector<vm::HelperRow> helpers, const JitOptions& options, unsigned cpu)
    : machine_(std::move(*vm::Machine::create({.cpus = cpu + 1, .seed = 1}, helpers, vm::make_interpreter(),
                                              make_jit(options)))) {
  set_memory(std::vector<std::byte>(64));
}

std::shared_ptr<vm::Program> EnginePair::load(std::span<const isa::Instruction> instructions,
                                              vm::PassSet passes) {
  vm::ProgramSpec spec;
  spec.type = vm::find_program_type(vm::kProgTypeRaw);
  spec.instructions = isa::encode(instructions);
  const vm::MapResolver resolve = [this](int32_t value, bool) -> Result<std::shared_ptr<maps::Map>> {
    return maps_.at(static_cast<size_t>(value));
  };
  auto program = vm::Program::create(
      std::move(spec), {.helpers = machine_->helpers(), .engines = machine_->engines(), .passes = passes},
      resolve);
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

int EnginePair::add_map(const maps::MapSpec& spec) {
  maps_.push_back(maps::create_map(spec, machine_->map_environment()).value());
  return static_cast<int>(maps_.size()) - 1;
}

void EnginePair::set_memory(std::vector<std::byte> bytes) {
  initial_ = std::move(bytes);
  memory_ = initial_;
}

Outcome EnginePair::run(const vm::Program& program, vm::EngineKind engine, vm::Mode mode, uint64_t fuel) {
  std::ranges::copy(initial_, memory_.begin());
  vm::Cpu& cpu = this->cpu();
  const vm::CpuLock lock(cpu);
  auto* stack = reinterpret_cast<std::byte*>(cpu.stack_begin);
  std::fill_n(stack, cpu.stack_end - cpu.stack_begin, std::byte{0});
  const vm::RunResult result = vm::run_raw(cpu, program, memory_, {engine, mode, fuel});
  Outcome out;
  out.r0 = result.faulted ? 0 : result.r0;
  out.faulted = result.faulted;
  if (result.faulted) {
    const vm::Fault& fault = cpu.fault();
    out.kind = fault.kind;
    out.write = fault.write;
    out.slot = fault.slot;
    out.program = fault.program;
    out.address = fault.address;
    out.size = fault.size;
    out.helper = fault.helper ? fault.helper : "";
  }
  out.fuel = cpu.fuel;
  out.tail_calls = cpu.tail_calls;
  out.memory = memory_;
  out.stack.assign(stack, stack + (cpu.stack_end - cpu.stack_begin));
  return out;
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

std::string text_of(std::span<const isa::Instruction> program) {
  std::string out;
  for (const isa::Instruction& i : program) out += std::to_string(i.slot) + ": " + isa::disassemble(i) + "\n";
  return out;
}

}  // namespace skep::jit
