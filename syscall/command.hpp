#pragma once

#include <cstdint>

#include "skep/error.hpp"
#include "syscall/attributes.hpp"
#include "syscall/object_table.hpp"
#include "syscall/user_memory.hpp"
#include "vm/machine.hpp"

namespace skep::sys {

// One call of bpf(2) under way.
struct Call {
  vm::Machine& machine;
  ObjectTable& objects;
  int command;
  Attributes attributes;
  uint64_t user_attributes;  // where the caller has them
  uint32_t size;             // how many bytes of them it gave
  UserMemory memory;

  const bpf_attr& attr() const { return attributes.get(); }
  // Writes a field of the caller's attributes; false: -EFAULT.
  template <class T>
  bool answer(uint32_t offset, const T& value) {
    return memory.put(user_attributes + offset, value);
  }
};

// The commands: a descriptor or 0, or a negative error number.
long map_create(Call& call);

long map_lookup_elem(Call& call);
long map_update_elem(Call& call);
long map_delete_elem(Call& call);
long map_get_next_key(Call& call);
long map_lookup_and_delete_elem(Call& call);
long map_freeze(Call& call);

long map_lookup_batch(Call& call);
long map_update_batch(Call& call);
long map_delete_batch(Call& call);

long prog_load(Call& call);
long prog_test_run(Call& call);
long prog_bind_map(Call& call);

long btf_load(Call& call);

long get_info(Call& call);

long get_next_id(Call& call);
long prog_by_id(Call& call);
long map_by_id(Call& call);
long btf_by_id(Call& call);
long link_by_id(Call& call);
long enable_statistics(Call& call);

long object_pin(Call& call);
long object_get(Call& call);

long prog_attach(Call& call);
long prog_detach(Call& call);
long prog_query(Call& call);
long link_create(Call& call);
long link_update(Call& call);
long link_detach(Call& call);
long raw_tracepoint_open(Call& call);

// Helpers that more than one file needs.
inline constexpr int kNotSupported = 524;  // ENOTSUPP, which errno.h does not have

inline long code_of(const Error& error) { return -static_cast<long>(error.code); }

// BPF_F_RDONLY and BPF_F_WRONLY; EINVAL: both.
Result<Access> access_of_flags(uint32_t flags);
// A name of letters, digits, _ and . that ends within the 16 bytes; EINVAL: another.
Result<std::string> object_name(const char (&name)[BPF_OBJ_NAME_LEN]);
// bpf_check_uarg_tail_zero: whether what the caller gives beyond what is known is zero. 0, -E2BIG or -EFAULT.
long check_tail_zero(UserMemory& memory, uint64_t from, uint64_t known, uint64_t given);
// EBADF or EINVAL for a flag that asks for a BPF token, of which a machine has none.
long no_token(uint32_t descriptor);

}  // namespace skep::sys
