#include "vm/program.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <ctime>

#include "isa/disassemble.hpp"
#include "loader/object_state.hpp"
#include "loader/program_runner.hpp"
#include "loader/runner_state.hpp"

namespace skep {
namespace {

constexpr int kNotSupported = 524;  // the kernel's ENOTSUPP, which <errno.h> lacks

std::unexpected<Error> busy(unsigned cpu) { return fail(EBUSY, fmt::format("a Runner holds CPU {}", cpu)); }

uint64_t thread_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
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

Program::Program(std::shared_ptr<ObjectState> object, std::shared_ptr<vm::Program> program, std::string name,
                 int descriptor)
    : object_(std::move(object)),
      program_(std::move(program)),
      name_(std::move(name)),
      descriptor_(descriptor) {}

std::string_view Program::type() const { return program_->type().name; }

std::string_view Program::verdict_name(uint64_t return_value) const {
  const auto verdict = static_cast<int32_t>(static_cast<uint32_t>(return_value));
  const char* name = vm::verdict_name(program_->type(), verdict);
  return name ? name : "";
}

size_t Program::max_data_size() const { return loader::max_data_size(*program_); }

size_t Program::instructions() const { return program_->spec().instructions.size(); }

Compilation Program::compile() const {
  const vm::MachineOptions& options = object_->machine->options();
  const vm::Engine& engine = object_->machine->engines().get(options.engine);
  const uint64_t start = thread_nanoseconds();
  const std::unique_ptr<vm::Executable> code = engine.prepare(*program_, options.mode);
  const uint64_t end = thread_nanoseconds();
  return {end - start, code->machine_code().size()};
}

Result<vm::Cpu*> Program::find_cpu(unsigned cpu) const {
  vm::Machine& machine = *object_->machine;
  if (!program_->type().runs_on_data())
    return fail(kNotSupported,
                fmt::format("program '{}': skep does not run programs of type {}", name_, type()));
  const uint32_t attached = program_->spec().expected_attach_type;
  if (program_->type().id == BPF_PROG_TYPE_XDP && (attached == BPF_XDP_DEVMAP || attached == BPF_XDP_CPUMAP))
    return fail(EINVAL, fmt::format("program '{}' is for elements of a {} map, which run it on what is "
                                    "redirected to them",
                                    name_, attached == BPF_XDP_DEVMAP ? "device" : "CPU"));
  if (cpu >= machine.cpus())
    return fail(EINVAL, fmt::format("no CPU {}: the machine has {}", cpu, machine.cpus()));
  return &machine.cpu(cpu);
}

Result<RunResult> Program::run(unsigned cpu, const RunInput& input) const {
  const auto on = find_cpu(cpu);
  if (!on) return std::unexpected(on.error());
  RunResult result;
  std::unique_ptr<loader::Onward> onward;
  {
    const vm::CpuLock lock(**on);
    if (!lock) return busy(cpu);
    loader::ProgramRunner runner(**on, *program_, name_);
    const auto outcome = runner.run(input);
    if (!outcome) return std::unexpected(outcome.error());
    result.return_value = outcome->return_value;
    result.fault = runner.fault();
    if (input.want_output) result.data = runner.output();
    onward = runner.take_onward();
  }
  if (!onward) return result;
  // No CPU is held while another is waited for.
  onward->deliver(nullptr);
  result.forwarding = onward->take_result();
  if (!result.fault) result.fault = onward->fault();
  return result;
}

Result<RunResult> Program::run_in_place(unsigned cpu, std::span<std::byte> memory) const {
  if (program_->type().context != vm::ContextKind::kRaw)
    return fail(EINVAL, fmt::format("program '{}': only raw programs run over plain memory", name_));
  const auto on = find_cpu(cpu);
  if (!on) return std::unexpected(on.error());
  const vm::CpuLock lock(**on);
  if (!lock) return busy(cpu);
  loader::ProgramRunner runner(**on, *program_, name_);
  const RunOutcome outcome = runner.run_in_place(memory);
  return RunResult{outcome.return_value, runner.fault(), {}, {}};
}

Result<Runner> Program::runner(unsigned cpu) const {
  const auto on = find_cpu(cpu);
  if (!on) return std::unexpected(on.error());
  const vm::CpuLock lock(**on);
  if (!lock) return busy(cpu);
  return Runner(std::make_unique<Runner::State>(object_, program_, name_, **on, lock));
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
