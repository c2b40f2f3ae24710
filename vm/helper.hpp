#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <unordered_map>

namespace skep::vm {

class Cpu;

// A helper's five arguments and, as the sixth, the simulated CPU that calls it.
using HelperFunction = uint64_t (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, Cpu&);
// A helper of an embedder's own.
using CustomHelper = std::function<uint64_t(std::span<const uint64_t, 5>, Cpu&)>;

// What an argument has to be (the kernel's enum bpf_arg_type). A memory argument's size is the next argument.
enum class Argument : uint8_t {
  kNone,
  kAnything,
  kMap,       // a map of the program's
  kMapKey,    // key_size readable bytes of the map given before
  kMapValue,  // value_size readable bytes
  kMapValueOrNull,
  kPoppedValue,  // value_size bytes that the helper writes, or reads where the map tests_values()
  kMemory,       // readable
  kMemoryOrNull,
  kWritableMemory,  // written by the helper
  kSize,            // of the memory before; may not be zero
  kSizeOrZero,
  kContext,          // the program's context
  kCallback,         // a function of the program's
  kCallbackContext,  // passed on to the callback
  kString,           // a NUL-terminated string in readable memory
  kRecord,           // a ring buffer's record that the program holds
  kDynptr,           // a dynptr on the stack, or one that a callback was given
  kNewDynptr,        // room for a dynptr on the stack
  kSpinLock,         // a lock in the value of one of the program's maps
  kTimer,            // a timer there; the map given after it is that one
  kPointerField,     // a pointer there that is exchanged
  kTaskOrNull,       // the task that the run is in
  kSocket,           // the socket of the packet
};

enum class Returns : uint8_t {
  kInteger,
  kVoid,
  kMapValueOrNull,
  kRecordOrNull,
  kDynptrMemoryOrNull,
  kTask,
  kSocketOrNull
};

// Helpers that the engines carry out themselves.
enum class Special : uint8_t { kNone, kTailCall };

// Helpers that the engines may carry out themselves where their arguments are known. What they do then is
// what the row's function does.
enum class Intrinsic : uint8_t { kNone, kProcessorId, kMapLookup, kLoop, kWalk };

// Program types a helper is offered to.
enum class Availability : uint8_t { kAll, kXdp, kSkb, kTc, kXdpOrTc, kTracing };

// One row of the helper table.
struct HelperRow {
  uint32_t id = 0;        // BPF_FUNC_*
  const char* name = "";  // as in bpf_helpers.h without the bpf_ prefix
  std::array<Argument, 5> arguments{};
  Returns returns = Returns::kInteger;
  bool gpl_only = false;
  bool under_lock = false;   // says itself what is wrong when a lock is held
  bool walks_stack = false;  // asks the CPU which calls led to it
  Availability availability = Availability::kAll;
  Special special = Special::kNone;
  Intrinsic intrinsic = Intrinsic::kNone;
  HelperFunction function = nullptr;
  CustomHelper custom = nullptr;  // wins over function
};

// The helpers of one machine: the built-in rows, and what the embedder put in place of them or beside them.
// Rows never move, so programs may point at them. Not to be changed while another thread loads a program.
class HelperTable {
 public:
  explicit HelperTable(std::span<const HelperRow> rows) {
    for (const HelperRow& row : rows) put(row);
  }

  // nullptr: no such helper.
  const HelperRow* find(uint64_t id) const;
  // Adds a helper or replaces the one of that id, for programs loaded from now on.
  void put(HelperRow row);
  // Puts an embedder's function under an id. In place of a built-in helper it keeps that one's row otherwise,
  // so that its arguments are checked alike.
  void put_custom(uint32_t id, std::string name, CustomHelper function);

 private:
  std::deque<HelperRow> rows_;
  std::deque<std::string> names_;  // of custom helpers
  std::unordered_map<uint64_t, const HelperRow*> by_id_;
};

// The name of a helper of the kernel's, be it in the table or not; nullptr: there is none of that id.
const char* kernel_helper_name(uint64_t id);

}  // namespace skep::vm
