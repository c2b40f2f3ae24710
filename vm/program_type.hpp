#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "vm/helper.hpp"

namespace skep::vm {

// skep's own program type: r1 is any memory, r2 its length. A number that no kernel gives to a type.
inline constexpr uint32_t kProgTypeRaw = 0x72617700;

// How a program of a type is run.
enum class ContextKind : uint8_t {
  kNone,       // loads, but skep has nothing to run it on
  kXdp,        // struct xdp_md
  kSkb,        // struct __sk_buff
  kRaw,        // r1 memory, r2 length
  kArguments,  // what a tracepoint was called with: kMaxArguments words
};

inline constexpr uint32_t kMaxArguments = 12;  // MAX_BPF_FUNC_ARGS

// A field of a context as the program may use it (the kernel's *_is_valid_access). Accesses are aligned to
// their own size and lie inside one field.
struct ContextField {
  uint32_t offset;
  uint32_t size;
  bool narrow;  // reads of fewer bytes than the field's are allowed
  bool writable;
};

// The name of a program's return value, as XDP_DROP or TC_ACT_OK.
struct Verdict {
  int64_t value;
  const char* name;
};

// One row of the table of program types.
struct ProgramType {
  uint32_t id;       // BPF_PROG_TYPE_*
  const char* name;  // as bpftool prints it
  ContextKind context = ContextKind::kNone;
  uint32_t context_size = 0;
  std::span<const ContextField> fields = {};
  std::span<const Verdict> verdicts = {};
  bool link_layer = false;  // kSkb: the packet begins at its link-layer header, not behind it
  bool tracing = false;     // looks at what the rest of the machine does

  // Whether the public API has something to run it on; others are run by BPF_PROG_TEST_RUN, or not at all.
  bool runs_on_data() const { return context != ContextKind::kNone && context != ContextKind::kArguments; }
};

std::span<const ProgramType> program_types();
const ProgramType* find_program_type(uint32_t id);
const ProgramType* find_program_type(std::string_view name);
// The row as it is for programs of an expected attach type: a device map's see egress_ifindex.
const ProgramType& attached(const ProgramType& type, uint32_t attach_type);

// Whether the kernel lets a program of this type use [offset, offset + size) of its context.
bool context_access_allowed(const ProgramType& type, uint64_t offset, uint64_t size, bool write);
// The same of a socket's struct bpf_sock.
bool socket_access_allowed(uint64_t offset, uint64_t size, bool write);
bool helper_available(const ProgramType& type, const HelperRow& helper);
// nullptr: the value has no name for this type.
const char* verdict_name(const ProgramType& type, int64_t value);

}  // namespace skep::vm
