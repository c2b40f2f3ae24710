#include "vm/program.hpp"

#include <algorithm>

#include "vm/engine.hpp"
#include "vm/optimize.hpp"
#include "vm/stack_reach.hpp"

namespace skep::vm {

Program::Program(ProgramSpec spec, const ProgramEnvironment& environment)
    : spec_(std::move(spec)),
      engines_(environment.engines),
      id_(environment.id),
      passes_(environment.passes) {}

Program::~Program() = default;

Result<std::shared_ptr<Program>> Program::create(ProgramSpec spec, const ProgramEnvironment& environment,
                                                 const MapResolver& resolve_map) {
  std::shared_ptr<Program> program(new Program(std::move(spec), environment));
  auto lowered = lower(program->spec_, environment.helpers, resolve_map, *program);
  if (!lowered) return std::unexpected(lowered.error());
  // Moving vectors keeps their elements where the code points at them.
  program->lowered_ = std::move(*lowered);
  program->stack_reach_ = vm::stack_reach(program->lowered_.decoded);
  program->tail_target_.cost = program->subprograms().front().length();
  program->tail_target_.program = program.get();
  std::ranges::sort(program->spec_.lines, {}, &SourceLine::slot);
  return program;
}

void Program::bind_map(std::shared_ptr<maps::Map> map) {
  std::scoped_lock lock(mutex_);
  if (std::ranges::find(bound_maps_, map) == bound_maps_.end()) bound_maps_.push_back(std::move(map));
}

std::vector<std::shared_ptr<maps::Map>> Program::bound_maps() const {
  std::scoped_lock lock(mutex_);
  return bound_maps_;
}

const SourceLine* Program::line_at(uint32_t slot) const {
  const auto after = std::ranges::upper_bound(spec_.lines, slot, {}, &SourceLine::slot);
  return after == spec_.lines.begin() ? nullptr : &*std::prev(after);
}

const maps::Map* Program::map_containing(uintptr_t address, maps::MemoryRange& range) const {
  for (const auto& map : lowered_.maps) {
    range = map->value_containing(address);
    if (range.size != 0) return map.get();
  }
  return nullptr;
}

bool Program::is_map(uint64_t address) const {
  return std::ranges::any_of(
      lowered_.maps, [&](const auto& map) { return reinterpret_cast<uintptr_t>(map.get()) == address; });
}

const Subprogram* Program::function_at(uint64_t address) const {
  for (const Subprogram& function : lowered_.subprograms)
    if (reinterpret_cast<uintptr_t>(&function) == address) return &function;
  return nullptr;
}

const Code& Program::optimized(Mode mode) const {
  const auto index = static_cast<size_t>(mode);
  // Acquire pairs with the release below: whoever sees the pointer sees the finished code.
  if (const Code* ready = optimized_[index].load(std::memory_order_acquire)) return *ready;
  std::scoped_lock lock(optimizing_);
  if (optimized_[index].load(std::memory_order_relaxed) == nullptr) {
    code_by_mode_[index] = optimize(lowered_, passes_, mode);
    optimized_[index].store(&code_by_mode_[index], std::memory_order_release);
  }
  return code_by_mode_[index];
}

const Executable& Program::prepare(EngineKind kind, Mode mode) const {
  const size_t index = executable_index(kind, mode);
  std::scoped_lock lock(mutex_);
  if (!executables_[index]) executables_[index] = engines_.get(kind).prepare(*this, mode);
  ready_[index].store(executables_[index].get(), std::memory_order_release);
  auto& entries = kind == EngineKind::kJit ? tail_target_.code : tail_target_.steps;
  entries[static_cast<size_t>(mode)].store(executables_[index]->tail_entry(), std::memory_order_release);
  return *executables_[index];
}

}  // namespace skep::vm
