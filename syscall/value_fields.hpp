#pragma once

#include <cstdint>

#include "maps/value_fields.hpp"
#include "skep/error.hpp"
#include "syscall/btf_image.hpp"

namespace skep::sys {

// The fields that a value of a type has (btf_parse_fields() of kernel/bpf/btf.c): in its members, in what
// they contain, and in arrays of them. E2BIG: a second lock, timer, work queue or reference count, or more
// than maps::kMaxFields. EINVAL: a type without fields by nature, a pointer's tags that do not fit, a list or
// tree without a lock or without saying what it contains. EEXIST: members that are out of order or overlap.
// ENOENT: what a list or tree contains is not there. EFAULT: beyond the value.
//
// A machine has no kernel types: every pointer's target is the program's own.
Result<maps::ValueFields> find_value_fields(const BtfImage& btf, uint32_t type, uint32_t value_size);

// BPF_BTF_LOAD looks at the structs that have locks, lists, trees or reference counts, of which objects could
// be made, and refuses what is wrong with them (btf_parse_struct_metas()). Errors as above.
Result<void> check_struct_fields(const BtfImage& btf);

}  // namespace skep::sys
