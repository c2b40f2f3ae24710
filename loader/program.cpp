#include "vm/program.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "isa/disassemble.hpp"
#include "loader/object_state.hpp"
#include "vm/run.hpp"

namespace skep {
namespace {

constexpr int kNotSupported = 524;  // the kernel's ENOTSUPP, which <errno.h> lacks
constexpr size_t kMaxRawSize = 16 * 1024 * 1024;

Fault public_fault(const vm::Fault& fault) {
  Fault out;
  out.kind = vm::fault_kind_name(fault.kind);
  out.pc = fault.slot;
  if (fault.program) {
    out.program = fault.program->spec().name;
    if (const vm::SourceLine* line = fault.program->line_at(fault.slot)) {
      out.file = line->file;
      out.line = line->line;
    }
  }
  out.write = fault.write;
  out.address = fault.address;
  out.size = fault.size;
  out.message = vm::describe(fault);
  return out;
}

// What a map, a function or a place in global data is called.
std::string reference_name(const vm::Program& program, const isa::Instruction& instruction,
                           const vm::LoweredInstruction& lowered) {
  if (instruction.op == isa::Op::kCallLocal || instruction.op == isa::Op::kLdFunc)
    return program.subprograms()[lowered.target].name;
  if (instruction.op == isa::Op::kLdImm64 || isa::row(instruction.op).cls != isa::Class::kLdImm) return {};
  for (const auto& map : program.maps())
    if (reinterpret_cast<uintptr_t>(map.get()) == lowered.imm) return map->spec().name;
  maps::MemoryRange value;
  const maps::Map* map = program.map_containing(lowered.imm, value);
  return map ? fmt::format("{}+{}", map->spec().name, lowered.imm - value.begin) : std::string();
}

}  // namespace

Program::Program(std::shared_ptr<ObjectState> object, std::shared_ptr<vm::Program> program, std::string name)
    : object_(std::move(object)), program_(std::move(program)), name_(std::move(name)) {}

std::string_view Program::type() const { return program_->type().name; }

std::string_view Program::verdict_name(uint64_t return_value) const {
  const auto verdict = static_cast<int32_t>(static_cast<uint32_t>(return_value));
  const char* name = vm::verdict_name(program_->type(), verdict);
  return name ? name : "";
}

size_t Program::max_data_size() const {
  return program_->type().context == vm::ContextKind::kRaw ? kMaxRawSize
                                                           : vm::max_packet_size(program_->type());
}

Result<RunResult> Program::finish(vm::Cpu& cpu, uint64_t return_value, bool faulted) const {
  RunResult result;
  result.return_value =
      program_->type().context == vm::ContextKind::kRaw ? return_value : static_cast<uint32_t>(return_value);
  if (faulted) result.fault = public_fault(cpu.fault());
  return result;
}

Result<RunResult> Program::run(unsigned cpu, const RunInput& input) const {
  vm::Machine& machine = *object_->machine;
  if (program_->type().context == vm::ContextKind::kNone)
    return fail(kNotSupported,
                fmt::format("program '{}': skep does not run programs of type {}", name_, type()));
  if (input.data.size() > max_data_size())
    return fail(EINVAL, fmt::format("program '{}': {} bytes of data are larger than the maximum of {} bytes",
                                    name_, input.data.size(), max_data_size()));
  if (program_->type().context == vm::ContextKind::kRaw) {
    std::vector<std::byte> memory(input.data.begin(), input.data.end());
    auto result = run_in_place(cpu, memory);
    if (result && input.want_output) result->data = std::move(memory);
    return result;
  }
  if (cpu >= machine.cpus())
    return fail(EINVAL, fmt::format("no CPU {}: the machine has {}", cpu, machine.cpus()));
  vm::Cpu& on = machine.cpu(cpu);
  const vm::CpuLock lock(on);
  auto packet = vm::PacketContext::create(
      on, program_->type(), {input.data, input.meta, input.ingress_ifindex, input.rx_queue_index, input.skb});
  if (!packet)
    return fail(packet.error().code, fmt::format("program '{}': {}", name_, packet.error().message));
  const vm::RunResult run = vm::run_packet(on, *program_, *packet, vm::default_run_options(machine));
  auto result = finish(on, run.r0, run.faulted);
  if (input.want_output) result->data = packet->output();
  return result;
}

Result<RunResult> Program::run_in_place(unsigned cpu, std::span<std::byte> memory) const {
  vm::Machine& machine = *object_->machine;
  if (program_->type().context != vm::ContextKind::kRaw)
    return fail(EINVAL, fmt::format("program '{}': only raw programs run over plain memory", name_));
  if (cpu >= machine.cpus())
    return fail(EINVAL, fmt::format("no CPU {}: the machine has {}", cpu, machine.cpus()));
  vm::Cpu& on = machine.cpu(cpu);
  const vm::CpuLock lock(on);
  const vm::RunResult run = vm::run_raw(on, *program_, memory, vm::default_run_options(machine));
  return finish(on, run.r0, run.faulted);
}

std::vector<ListedInstruction> Program::listing(bool machine_code) const {
  std::span<const uint8_t> code;
  std::span<const uint32_t> offsets;
  if (machine_code) {
    const vm::Executable& jitted =
        program_->executable(vm::EngineKind::kJit, object_->machine->options().mode);
    code = jitted.machine_code();
    offsets = jitted.instruction_offsets();
  }
  isa::DisassembleOptions options;
  std::string helper_name;
  options.helper_name = [&](int32_t id) -> std::string_view {
    const vm::HelperRow* helper = object_->machine->helpers().find(static_cast<uint32_t>(id));
    helper_name = helper ? fmt::format("bpf_{}", helper->name) : std::string();
    return helper_name;
  };
  const vm::LoweredInstruction* lowered = nullptr;
  options.reference = [&](const isa::Instruction& instruction) {
    return reference_name(*program_, instruction, *lowered);
  };
  std::vector<ListedInstruction> out;
  const vm::SourceLine* shown = nullptr;
  const auto instructions = program_->instructions();
  for (size_t n = 0; n < instructions.size(); ++n) {
    lowered = &program_->code()[n];
    ListedInstruction listed{
        instructions[n].slot, isa::disassemble(instructions[n], options), std::nullopt, {}};
    const vm::SourceLine* line = program_->line_at(listed.slot);
    if (line && line != shown) listed.line = SourceLine{line->file, line->text, line->line};
    shown = line;
    if (n < offsets.size()) {
      const size_t end = n + 1 < offsets.size() ? offsets[n + 1] : code.size();
      const auto bytes = std::as_bytes(code.subspan(offsets[n], end - offsets[n]));
      listed.code.assign(bytes.begin(), bytes.end());
    }
    out.push_back(std::move(listed));
  }
  return out;
}

}  // namespace skep
