#include "vm/cpu.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "maps/ring_buffer.hpp"
#include "vm/machine.hpp"
#include "vm/packet.hpp"
#include "vm/run.hpp"

namespace skep::vm {

Cpu::Cpu(Machine& machine, unsigned id, bool guard_pages)
    : machine_(machine),
      id_(id),
      random_(machine.next_random()),
      stack_(kMaxFrames * kFrameSize, guard_pages) {
  run().cpu = id;
  stack_begin = reinterpret_cast<uintptr_t>(stack_.data());
  run().stack_end = run().stack_begin + kMaxFrames * kFrameSize;
  run().frame_top = run().stack_begin + kFrameSize;
}

Cpu::~Cpu() = default;

void Cpu::prepare_runs(EngineKind engine, Mode mode) {
  run().engine = engine;
  run().mode = mode;
  run().packet = {};
  run().context = {};
  run().last_read = {};
  run().last_write = {};
  packet_context = nullptr;
  // Which of it is not asked there.
  if (mode == Mode::kVerified) expect_whole_stack_written();
}

void Cpu::zero_stack() {
  std::memset(stack_.data(), 0, run().stack_written);
  run().stack_written = 0;
}

void Cpu::raise(const Fault& fault) {
  if (run().faulted) return;
  run().faulted = 1;
  fault_ = fault;
}

bool Cpu::consume_fuel(uint64_t amount, uint32_t slot) {
  run().fuel -= static_cast<int64_t>(amount);
  if (run().fuel >= 0) return true;
  raise({.kind = FaultKind::kFuel, .slot = slot, .program = run().program});
  return false;
}

uint64_t Cpu::call_back(uint64_t callback, const Arguments& arguments) {
  const auto* function = reinterpret_cast<const Subprogram*>(callback);
  if (run().mode == Mode::kChecked && !run().program->function_at(callback)) {
    raise({.kind = FaultKind::kBadCall,
           .slot = run().call_site->slot,
           .program = run().program,
           .address = callback});
    return 0;
  }
  const uint32_t slot = function->program->code()[function->begin].slot;
  if (!consume_fuel(function->length(), slot)) return 0;
  if (run().frame_top + kFrameSize > run().stack_end) {
    raise({.kind = FaultKind::kCallDepth, .slot = slot, .program = function->program});
    return 0;
  }
  // The callback's own calls leave their frames in frame_top, its tail calls their targets in program.
  const uint64_t caller_frame = run().frame_top;
  const Program* const caller = run().program;
  run().frame_top += kFrameSize;
  expect_whole_stack_written();
  const uint64_t r0 =
      function->program->executable(run().engine, run().mode).call(*this, *function, arguments);
  run().frame_top = caller_frame;
  if (run().program != caller) enter(*caller);
  return r0;
}

bool Cpu::may_access(const Program& program, uint64_t address, uint64_t size, bool write, Region* lasting) {
  if (size == 0) return true;
  const auto within = [&](const Region& region) {
    if (!region.contains(address, size)) return false;
    if (lasting) *lasting = region;
    return true;
  };
  const Region stack{run().stack_begin, run().frame_top - run().stack_begin};
  if (within(stack) || within(run().packet)) return true;
  if (run().context.contains(address, size))
    return context_access_allowed(program.type(), address - run().context.begin, size, write);
  maps::MemoryRange range;
  const maps::Map* map = program.map_containing(address, range);
  for (size_t n = 0; map == nullptr && n < admitted_maps_.size(); ++n) {
    range = admitted_maps_[n]->value_containing(address);
    if (range.size != 0) map = admitted_maps_[n];
  }
  if (map != nullptr) {
    const uint32_t refused = write ? BPF_F_RDONLY_PROG : BPF_F_WRONLY_PROG;
    if ((map->spec().flags & refused) != 0) return false;
    if (!map->spec().fields.empty()) return may_access_value(*map, range, address, size, write, lasting);
    const Region value{range.begin, range.size};
    (write ? run().last_write : run().last_read) = value;
    return within(value);
  }
  for (const Region& grant : grants_)
    if (grant.contains(address, size)) return true;
  for (const HeldRecord& record : records_)
    if (record.memory.contains(address, size)) return true;
  return false;
}

const HeldRecord* Cpu::held_at(uint64_t begin) const {
  const auto found =
      std::ranges::find(records_, begin, [](const HeldRecord& held) { return held.memory.begin; });
  return found == records_.end() ? nullptr : &*found;
}

void Cpu::let_go(uint64_t begin) {
  std::erase_if(records_, [begin](const HeldRecord& held) { return held.memory.begin == begin; });
}

void Cpu::drop_records() {
  // The oldest is the one that the kernel's verifier would name.
  const HeldRecord& first = records_.front();
  raise({.kind = FaultKind::kLeak,
         .slot = first.slot,
         .program = first.program,
         .address = first.memory.begin,
         .size = first.memory.size});
  for (const HeldRecord& held : records_)
    held.ring->commit(reinterpret_cast<std::byte*>(held.memory.begin), 0, true);
  records_.clear();
}

bool Cpu::is_admitted(uint64_t address) const {
  return std::ranges::any_of(
      admitted_maps_, [&](const maps::Map* map) { return reinterpret_cast<uintptr_t>(map) == address; });
}

// A value with fields: what lies between them, and pointers as a whole.
bool Cpu::may_access_value(const maps::Map& map, const maps::MemoryRange& range, uint64_t address,
                           uint64_t size, bool write, Region* lasting) {
  const maps::ValueFields& fields = map.spec().fields;
  const uint64_t offset = address - range.begin;
  if (const auto gap = fields.gap_around(offset, size, static_cast<uint32_t>(range.size))) {
    const Region between{range.begin + gap->begin, gap->end - gap->begin};
    if (!between.contains(address, size)) return false;
    (write ? run().last_write : run().last_read) = between;
    if (lasting) *lasting = between;
    return true;
  }
  const auto field = std::ranges::find(fields.all(), offset, &maps::ValueField::offset);
  if (field == fields.all().end() || size != field->size || !maps::kPointerFields.has(field->kind))
    return false;
  return !write || field->kind == maps::FieldKind::kUntrustedPointer;
}

void Cpu::lock_value(void* word) {
  const bool checked = mode == Mode::kChecked;
  if (checked && lock_word_ != nullptr)
    return raise_lock_fault(call_site->slot, "bpf_spin_lock is called by a program that holds a lock");
  maps::SpinLock lock(word);
  for (unsigned n = 1; !lock.try_lock(id_ + 1); ++n) {
    maps::SpinLock::pause(n);
    if (checked && !consume_fuel(1, call_site->slot)) return;
  }
  lock_word_ = word;
  lock_slot_ = checked ? call_site->slot : 0;
  lock_program_ = program;
}

void Cpu::unlock_value(void* word) {
  if (mode == Mode::kChecked && lock_word_ != word)
    return raise_lock_fault(call_site->slot, "bpf_spin_unlock of a lock that the program does not hold");
  lock_word_ = nullptr;
  maps::SpinLock(word).unlock();
}

void Cpu::raise_lock_fault(uint32_t slot, const char* reason) {
  raise({.kind = FaultKind::kLock,
         .slot = slot,
         .program = program,
         .address = reinterpret_cast<uintptr_t>(lock_word_),
         .reason = reason});
}

void Cpu::end_lock() {
  raise({.kind = FaultKind::kLock,
         .slot = lock_slot_,
         .program = lock_program_,
         .address = reinterpret_cast<uintptr_t>(lock_word_),
         .reason = "the program ended without giving back the lock it took here"});
  maps::SpinLock(std::exchange(lock_word_, nullptr)).unlock();
}

void Cpu::run_callback(const Program& callback_program, const Subprogram& function, const RunOptions& options,
                       const Arguments& arguments, const Region& granted) {
  const RunState before = run();
  class PacketContext* const packet_before = packet_context;
  prepare_runs(options.engine, options.mode);
  begin_run(callback_program, static_cast<int64_t>(std::min<uint64_t>(options.fuel, INT64_MAX)));
  expect_whole_stack_written();
  grants_.push_back(granted);
  if (machine_.clock().simulated()) machine_.clock().run_started();
  callback_program.executable(options.engine, options.mode).call(*this, function, arguments);
  if (holds_lock()) end_lock();
  grants_.clear();
  run().engine = before.engine;
  run().mode = before.mode;
  run().packet = before.packet;
  run().context = before.context;
  packet_context = packet_before;
}

bool Cpu::check_access(const Program& program, uint32_t slot, uint64_t address, uint64_t size, bool write,
                       Region* lasting) {
  if (may_access(program, address, size, write, lasting)) return true;
  raise({.kind = FaultKind::kMemory,
         .write = write,
         .slot = slot,
         .program = &program,
         .address = address,
         .size = size});
  return false;
}

PacketBuffer& Cpu::packet_buffer() {
  if (!packet_buffer_) packet_buffer_ = std::make_unique<PacketBuffer>();
  return *packet_buffer_;
}

PacketBuffer& Cpu::forward_buffer() {
  if (!forward_buffer_) forward_buffer_ = std::make_unique<PacketBuffer>();
  return *forward_buffer_;
}

}  // namespace skep::vm
