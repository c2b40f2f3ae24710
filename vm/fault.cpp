#include "vm/fault.hpp"

#include <fmt/format.h>

#include "vm/program.hpp"

namespace skep::vm {

const char* fault_kind_name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kNone:
      return "none";
    case FaultKind::kMemory:
      return "memory";
    case FaultKind::kMisaligned:
      return "misaligned";
    case FaultKind::kFuel:
      return "fuel";
    case FaultKind::kCallDepth:
      return "call-depth";
    case FaultKind::kLock:
      return "lock";
    case FaultKind::kBadCall:
      return "bad-call";
    case FaultKind::kLeak:
      return "leak";
  }
  return "";
}

namespace {

std::string cause(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::kNone:
      return "no fault";
    case FaultKind::kMemory:
      return fmt::format("{} of {} bytes at {:#x} is outside the memory the program may touch",
                         fault.write ? "write" : "read", fault.size, fault.address);
    case FaultKind::kMisaligned:
      return fmt::format("atomic operation of {} bytes at {:#x} is misaligned", fault.size, fault.address);
    case FaultKind::kFuel:
      return "out of fuel: the program runs too long or loops forever (see --fuel)";
    case FaultKind::kCallDepth:
      return fmt::format("more than {} nested calls", kMaxFrames);
    case FaultKind::kLock:
      return fault.reason;
    case FaultKind::kBadCall:
      return fmt::format("{:#x} is not something that can be called here", fault.address);
    case FaultKind::kLeak:
      return fmt::format("a ring buffer's record of {} bytes was neither submitted nor discarded",
                         fault.size);
  }
  return "";
}

}  // namespace

std::string describe(const Fault& fault) {
  std::string out = fmt::format("{} fault at pc {}", fault_kind_name(fault.kind), fault.slot);
  const SourceLine* line = fault.program ? fault.program->line_at(fault.slot) : nullptr;
  if (line) out += fmt::format(" ({}:{})", line->file, line->line);
  out += ": " + cause(fault);
  if (fault.helper && fault.kind != FaultKind::kLock)
    out += fault.argument != 0 ? fmt::format(" (argument {} of helper bpf_{})", fault.argument, fault.helper)
                               : fmt::format(" (argument of helper bpf_{})", fault.helper);
  return out;
}

}  // namespace skep::vm
