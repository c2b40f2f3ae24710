#include "fuzz/raw_machine.hpp"

#include <algorithm>

#include "isa/disassemble.hpp"
#include "vm/interpreter.hpp"
#include "vm/program_type.hpp"

namespace skep::fuzz {
namespace {

void print_words(std::ostream& out, const char* name, const std::vector<std::byte>& bytes) {
  out << "\n" << name;
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(i), 8, reinterpret_cast<std::byte*>(&word));
    if (word != 0) out << " " << i << ":" << word;
  }
}

// The keys that a map has, in its own order.
std::vector<std::vector<std::byte>> keys_of(maps::Map& map) {
  std::vector<std::vector<std::byte>> keys;
  std::vector<std::byte> key(map.spec().key_size);
  for (int status = map.next_key(nullptr, key.data()); status == 0;
       status = map.next_key(keys.back().data(), key.data()))
    keys.push_back(key);
  return keys;
}

bool is_plain(const maps::Map& map) {
  return maps::find_map_type(map.spec().type)->value_kind == maps::ValueKind::kPlain;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  out << std::hex << "r0 " << o.r0 << " fuel " << o.fuel;
  if (o.faulted)
    out << " fault " << vm::fault_kind_name(o.kind) << std::dec << " pc " << o.slot << std::hex << " address "
        << o.address << " size " << o.size << (o.write ? " write" : "") << " " << o.helper << " program "
        << o.program;
  print_words(out, "memory", o.memory);
  print_words(out, "stack", o.stack);
  print_words(out, "maps", o.maps);
  return out << std::dec;
}

RawMachine::RawMachine(std::span<const vm::HelperRow> helpers, const jit::JitOptions& options, unsigned cpu)
    : machine_(std::move(*vm::Machine::create({.cpus = cpu + 1, .seed = 1}, helpers, vm::make_interpreter(),
                                              jit::make_jit(options)))) {
  set_memory(std::vector<std::byte>(64));
}

Result<std::shared_ptr<vm::Program>> RawMachine::load(std::vector<isa::Encoded> code, vm::PassSet passes) {
  vm::ProgramSpec spec;
  spec.type = vm::find_program_type(vm::kProgTypeRaw);
  spec.instructions = std::move(code);
  const vm::MapResolver resolve = [this](int32_t value, bool) -> Result<std::shared_ptr<maps::Map>> {
    if (value < 0 || static_cast<size_t>(value) >= maps_.size()) return fail(EBADF, "there is no such map");
    return maps_[static_cast<size_t>(value)];
  };
  return vm::Program::create(
      std::move(spec), {.helpers = machine_->helpers(), .engines = machine_->engines(), .passes = passes},
      resolve);
}

int RawMachine::add_map(const maps::MapSpec& spec) {
  maps_.push_back(maps::create_map(spec, machine_->map_environment()).value());
  return static_cast<int>(maps_.size()) - 1;
}

void RawMachine::add_element(int map_number, uint32_t key) {
  const maps::EpochDomain::TaskGuard guard(machine_->epochs());
  const std::vector<std::byte> value(map(map_number).user_value_size());
  map(map_number).write(&key, value.data(), BPF_ANY);
}

void RawMachine::set_memory(std::vector<std::byte> bytes) {
  initial_ = std::move(bytes);
  memory_ = initial_;
}

void RawMachine::clear_maps() {
  const maps::EpochDomain::TaskGuard guard(machine_->epochs());
  for (const auto& map : maps_) {
    if (!is_plain(*map)) continue;
    for (const auto& key : keys_of(*map))
      for (unsigned cpu = 0; cpu < map->cpus(); ++cpu)
        std::fill_n(static_cast<std::byte*>(map->lookup(key.data(), cpu)), map->spec().value_size,
                    std::byte{0});
  }
}

std::vector<std::byte> RawMachine::map_contents() {
  const maps::EpochDomain::TaskGuard guard(machine_->epochs());
  std::vector<std::byte> contents;
  for (const auto& map : maps_) {
    if (!is_plain(*map)) continue;
    std::vector<std::byte> value(map->user_value_size());
    for (const auto& key : keys_of(*map)) {
      map->read(key.data(), value.data(), 0);
      contents.insert(contents.end(), key.begin(), key.end());
      contents.insert(contents.end(), value.begin(), value.end());
    }
  }
  return contents;
}

Outcome RawMachine::run(const vm::Program& program, vm::EngineKind engine, vm::Mode mode, uint64_t fuel) {
  std::ranges::copy(initial_, memory_.begin());
  if (reset_maps_) clear_maps();
  vm::Cpu& cpu = this->cpu();
  auto* stack = reinterpret_cast<std::byte*>(cpu.stack_begin);
  Outcome out;
  {
    const vm::CpuLock lock(cpu);
    std::fill_n(stack, cpu.stack_end - cpu.stack_begin, std::byte{0});
    const vm::RunResult result = vm::run_raw(cpu, program, memory_, {engine, mode, fuel});
    out.r0 = result.faulted ? 0 : result.r0;
    out.faulted = result.faulted;
  }
  if (out.faulted) {
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
  if (reset_maps_) out.maps = map_contents();
  return out;
}

std::string text_of(std::span<const isa::Instruction> program) {
  std::string out;
  for (const isa::Instruction& i : program) out += std::to_string(i.slot) + ": " + isa::disassemble(i) + "\n";
  return out;
}

}  // namespace skep::fuzz
