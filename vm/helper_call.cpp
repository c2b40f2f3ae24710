#include "vm/helper_call.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "isa/arithmetic.hpp"
#include "vm/dynptr.hpp"
#include "vm/machine.hpp"
#include "vm/packet.hpp"

namespace skep::vm {
namespace {

constexpr uint64_t kMaxArgumentSize = 1 << 29;  // the kernel's BPF_MAX_VAR_SIZ
constexpr uint64_t kMaxStringSize = 4096;

uint64_t invoke(const HelperRow& helper, const Arguments& a, Cpu& cpu) {
  if (helper.custom) return helper.custom(a, cpu);
  return helper.function(a[0], a[1], a[2], a[3], a[4], cpu);
}

// Holds a call's arguments against its helper's row.
class ArgumentCheck {
 public:
  ArgumentCheck(Cpu& cpu, const CallSite& site, const HelperRow& helper, const Arguments& arguments)
      : cpu_(cpu), site_(site), helper_(helper), arguments_(arguments) {}

  bool run() {
    for (; argument_ < arguments_.size(); ++argument_)
      if (!check(argument_)) return false;
    return true;
  }

 private:
  bool check(size_t i) {
    const uint64_t value = arguments_[i];
    switch (helper_.arguments[i]) {
      case Argument::kNone:
      case Argument::kAnything:
      case Argument::kCallbackContext:
      case Argument::kSizeOrZero:
        return true;
      case Argument::kSize:
        return value != 0 || bad_call(value);
      case Argument::kMap:
        return check_map(value);
      case Argument::kMapKey:
        return memory(value, map_ ? map_->spec().key_size : 0, false);
      case Argument::kMapValue:
        return memory(value, map_ ? map_->spec().value_size : 0, false);
      case Argument::kMapValueOrNull:
        return value == 0 || memory(value, map_ ? map_->spec().value_size : 0, false);
      case Argument::kPoppedValue:
        return memory(value, map_ ? map_->spec().value_size : 0, map_ == nullptr || !map_->tests_values());
      case Argument::kMemory:
        return memory(value, size_after(i), false);
      case Argument::kMemoryOrNull:
        return value == 0 || memory(value, size_after(i), false);
      case Argument::kWritableMemory:
        return memory(value, size_after(i), true);
      case Argument::kContext:
        return value == cpu_.run().context.begin || bad_call(value);
      case Argument::kCallback:
        return site_.program->function_at(value) != nullptr || bad_call(value);
      case Argument::kString:
        return check_string(value);
      case Argument::kRecord:
        return cpu_.held_at(value) != nullptr || bad_call(value);
      case Argument::kDynptr:
        return check_dynptr(value);
      case Argument::kNewDynptr:
        return on_stack(value);
      case Argument::kSpinLock:
        return field(value, {maps::FieldKind::kSpinLock});
      case Argument::kTimer:
        return field(value, {maps::FieldKind::kTimer});
      case Argument::kPointerField:
        return field(value, {maps::FieldKind::kPointer, maps::FieldKind::kPerCpuPointer});
      case Argument::kTaskOrNull:
        return value == 0 || cpu_.is_task(value) || bad_call(value);
      case Argument::kSocket:
        return (cpu_.packet_context && cpu_.packet_context->has_socket_at(value)) || bad_call(value);
    }
    return false;
  }

  uint64_t size_after(size_t i) const { return i + 1 < arguments_.size() ? arguments_[i + 1] : 0; }

  bool check_map(uint64_t value) {
    if (!site_.program->is_map(value) && !cpu_.is_admitted(value)) return bad_call(value);
    if (field_map_ && reinterpret_cast<uintptr_t>(field_map_) != value) return bad_call(value);
    map_ = reinterpret_cast<const maps::Map*>(value);
    return true;
  }

  // The beginning of a field of one of these kinds.
  bool field(uint64_t address, maps::FieldKinds kinds) {
    maps::MemoryRange value;
    field_map_ = site_.program->map_containing(address, value);
    const auto is_here = [&](const maps::ValueField& field) {
      return value.begin + field.offset == address && kinds.has(field.kind);
    };
    return (field_map_ && std::ranges::any_of(field_map_->spec().fields.all(), is_here)) || bad_call(address);
  }

  bool memory(uint64_t address, uint64_t size, bool write) {
    if (size <= kMaxArgumentSize && cpu_.may_access(*site_.program, address, size, write)) return true;
    cpu_.raise({.kind = FaultKind::kMemory,
                .write = write,
                .slot = site_.slot,
                .program = site_.program,
                .address = address,
                .size = size,
                .helper = helper_.name,
                .argument = number()});
    return false;
  }

  // Other CPUs' programs cannot write to the stack: what is checked there stays so.
  bool on_stack(uint64_t address) {
    const Region stack{cpu_.run().stack_begin, cpu_.run().frame_top - cpu_.run().stack_begin};
    return stack.contains(address, sizeof(Dynptr)) || bad_call(address);
  }

  // The program may have written anything there. It gets nowhere by it where it may not go itself.
  bool check_dynptr(uint64_t address) {
    if (!cpu_.is_helper_dynptr(address) && !on_stack(address)) return false;
    const Dynptr dynptr = Dynptr::load(address);
    if (dynptr.data == 0) return true;
    switch (dynptr.type()) {
      case Dynptr::Type::kLocal:
        break;
      case Dynptr::Type::kRingbuf:
        if (cpu_.held_at(dynptr.data) == nullptr) return bad_call(address);
        break;
      case Dynptr::Type::kInvalid:
        return bad_call(address);
      default:
        return bad_call(address);
    }
    return memory(dynptr.begin(), dynptr.size(), !dynptr.read_only());
  }

  bool check_string(uint64_t address) {
    for (uint64_t i = 0; i < kMaxStringSize; ++i) {
      if (!memory(address + i, 1, false)) return false;
      if (*reinterpret_cast<const char*>(address + i) == '\0') return true;
    }
    return bad_call(address);
  }

  bool bad_call(uint64_t value) {
    cpu_.raise({.kind = FaultKind::kBadCall,
                .slot = site_.slot,
                .program = site_.program,
                .address = value,
                .helper = helper_.name,
                .argument = number()});
    return false;
  }

  uint8_t number() const { return static_cast<uint8_t>(argument_ + 1); }

  Cpu& cpu_;
  const CallSite& site_;
  const HelperRow& helper_;
  const Arguments& arguments_;
  size_t argument_ = 0;
  const maps::Map* map_ = nullptr;
  const maps::Map* field_map_ = nullptr;  // the one with the field given before
};

// Whether ArgumentCheck may find anything wrong.
bool has_checked_arguments(const HelperRow& helper) {
  static constexpr Argument kUnchecked[] = {Argument::kNone, Argument::kAnything, Argument::kCallbackContext,
                                            Argument::kSizeOrZero};
  return std::ranges::any_of(helper.arguments, [](Argument argument) {
    return std::ranges::find(kUnchecked, argument) == std::end(kUnchecked);
  });
}

uint64_t call_checked(const HelperRow& helper, const Arguments& arguments, Cpu& cpu) {
  const CallSite& site = *cpu.run().call_site;
  // What the engines may carry out themselves takes no lock and waits for nobody.
  if (cpu.holds_lock() && !helper.under_lock && helper.intrinsic == Intrinsic::kNone) {
    cpu.raise_lock_fault(site.slot, "the program calls a helper while it holds a lock");
    return 0;
  }
  if (!ArgumentCheck(cpu, site, helper, arguments).run()) return 0;
  return invoke(helper, arguments, cpu);
}

uint64_t checked_entry(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, Cpu& cpu) {
  return call_checked(*cpu.run().call_site->helper, {r1, r2, r3, r4, r5}, cpu);
}

uint64_t custom_entry(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, Cpu& cpu) {
  return invoke(*cpu.run().call_site->helper, {r1, r2, r3, r4, r5}, cpu);
}

uint64_t by_number_entry(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, Cpu& cpu) {
  const CallSite& site = *cpu.run().call_site;
  const HelperRow* helper = cpu.machine().helpers().find(cpu.run().helper_number);
  if (!helper || helper->special != Special::kNone || !helper_available(site.program->type(), *helper) ||
      (helper->gpl_only && !site.program->spec().gpl_compatible())) {
    cpu.raise({.kind = FaultKind::kBadCall,
               .slot = site.slot,
               .program = site.program,
               .address = cpu.run().helper_number});
    return 0;
  }
  const Arguments arguments{r1, r2, r3, r4, r5};
  return cpu.run().mode == Mode::kChecked ? call_checked(*helper, arguments, cpu)
                                          : invoke(*helper, arguments, cpu);
}

}  // namespace

HelperFunction helper_entry(const CallSite& site, Mode mode) {
  if (!site.helper) return by_number_entry;
  if (mode == Mode::kChecked && has_checked_arguments(*site.helper)) return checked_entry;
  return site.helper->custom ? custom_entry : site.helper->function;
}

bool entry_reads_call_site(const CallSite& site, Mode mode) {
  return !site.helper || site.helper->custom || site.helper->walks_stack ||
         (site.program->notes_calls() && may_call_back(site)) ||
         (mode == Mode::kChecked && has_checked_arguments(*site.helper));
}

bool may_call_back(const CallSite& site) {
  return !site.helper || site.helper->custom ||
         std::ranges::find(site.helper->arguments, Argument::kCallback) != site.helper->arguments.end();
}

// A built-in helper that knows of packets is offered to programs that are run on them alone.
bool may_move_packet(const CallSite& site) {
  return may_call_back(site) || site.helper->availability != Availability::kAll;
}

const Program* tail_call_target(Cpu& cpu, const CallSite& site, uint64_t map_address, uint64_t index) {
  if (cpu.run().mode == Mode::kChecked) {
    if (cpu.holds_lock()) {
      cpu.raise_lock_fault(site.slot, "the program makes a tail call while it holds a lock");
      return nullptr;
    }
    const bool is_map = site.program->is_map(map_address);
    if (!is_map || reinterpret_cast<const maps::Map*>(map_address)->spec().type != BPF_MAP_TYPE_PROG_ARRAY) {
      cpu.raise({.kind = FaultKind::kBadCall,
                 .slot = site.slot,
                 .program = site.program,
                 .address = map_address,
                 .helper = site.helper->name});
      return nullptr;
    }
  }
  auto* map = reinterpret_cast<maps::Map*>(map_address);
  const auto element = static_cast<uint32_t>(index);
  if (element >= map->spec().max_entries || cpu.run().tail_calls >= kMaxTailCalls) return nullptr;
  // The kernel counts the attempt, whether or not a program is there.
  ++cpu.run().tail_calls;
  const auto* target = static_cast<const Program*>(map->peek_object(element));
  if (!target) return nullptr;
  // Verified programs end by themselves, and make no more than so many tail calls.
  if (cpu.run().mode == Mode::kChecked &&
      !cpu.consume_fuel(target->subprograms().front().length(), site.slot))
    return nullptr;
  cpu.enter(*target);
  cpu.expect_whole_stack_written();
  return target;
}

int64_t load_packet(Cpu& cpu, int32_t offset, uint32_t bytes) {
  const std::byte* from = nullptr;
  if (cpu.packet_context) {
    from = cpu.packet_context->filter_load(offset, bytes);
  } else if (offset >= 0 && static_cast<uint64_t>(offset) + bytes <= cpu.run().packet.size) {
    from = reinterpret_cast<const std::byte*>(cpu.run().packet.begin) + offset;
  }
  if (!from) return -1;
  uint32_t value = 0;
  std::memcpy(&value, from, bytes);
  return isa::byte_swap(value, bytes * 8);
}

}  // namespace skep::vm
