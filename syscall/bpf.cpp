#include "syscall/bpf.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "syscall/command.hpp"
#include "syscall/errno_keeper.hpp"
#include "syscall/pins.hpp"

namespace skep::sys {
namespace {

struct CommandRow {
  int command;
  uint32_t end;  // where the fields it looks at end; the rest has to be zero (*_LAST_FIELD of syscall.c)
  long (*run)(Call& call);
};

constexpr CommandRow kCommands[] = {
    {BPF_MAP_CREATE, 80, map_create},
    {BPF_MAP_LOOKUP_ELEM, 32, map_lookup_elem},
    {BPF_MAP_UPDATE_ELEM, 32, map_update_elem},
    {BPF_MAP_DELETE_ELEM, 16, map_delete_elem},
    {BPF_MAP_GET_NEXT_KEY, 24, map_get_next_key},
    {BPF_MAP_LOOKUP_AND_DELETE_ELEM, 32, map_lookup_and_delete_elem},
    {BPF_MAP_FREEZE, 4, map_freeze},
    {BPF_MAP_LOOKUP_BATCH, 56, map_lookup_batch},
    {BPF_MAP_LOOKUP_AND_DELETE_BATCH, 56, map_lookup_batch},
    {BPF_MAP_UPDATE_BATCH, 56, map_update_batch},
    {BPF_MAP_DELETE_BATCH, 56, map_delete_batch},
    {BPF_PROG_LOAD, 148, prog_load},
    {BPF_PROG_TEST_RUN, 76, prog_test_run},
    {BPF_PROG_BIND_MAP, 12, prog_bind_map},
    {BPF_BTF_LOAD, 40, btf_load},
    {BPF_OBJ_GET_INFO_BY_FD, 16, get_info},
    {BPF_PROG_GET_NEXT_ID, 8, get_next_id},
    {BPF_MAP_GET_NEXT_ID, 8, get_next_id},
    {BPF_BTF_GET_NEXT_ID, 8, get_next_id},
    {BPF_LINK_GET_NEXT_ID, 8, get_next_id},
    {BPF_PROG_GET_FD_BY_ID, 4, prog_by_id},
    {BPF_MAP_GET_FD_BY_ID, 12, map_by_id},
    {BPF_BTF_GET_FD_BY_ID, 4, btf_by_id},
    {BPF_LINK_GET_FD_BY_ID, 4, link_by_id},
    {BPF_ENABLE_STATS, 4, enable_statistics},
    {BPF_OBJ_PIN, 20, object_pin},
    {BPF_OBJ_GET, 20, object_get},
    {BPF_PROG_ATTACH, 32, prog_attach},
    {BPF_PROG_DETACH, 32, prog_detach},
    {BPF_PROG_QUERY, 64, prog_query},
    {BPF_LINK_CREATE, 60, link_create},
    {BPF_LINK_UPDATE, 16, link_update},
    {BPF_LINK_DETACH, 4, link_detach},
    {BPF_RAW_TRACEPOINT_OPEN, 24, raw_tracepoint_open},
};

constexpr uint64_t kPage = 4096;

}  // namespace

Result<Access> access_of_flags(uint32_t flags) {
  const bool no_write = (flags & BPF_F_RDONLY) != 0;
  const bool no_read = (flags & BPF_F_WRONLY) != 0;
  if (no_write && no_read) return fail(EINVAL, "BPF_F_RDONLY and BPF_F_WRONLY exclude each other");
  return Access{.read = !no_read, .write = !no_write};
}

Result<std::string> object_name(const char (&name)[BPF_OBJ_NAME_LEN]) {
  const auto* end = std::find(std::begin(name), std::end(name), '\0');
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  };
  if (end == std::end(name) || !std::all_of(std::begin(name), end, allowed))
    return fail(EINVAL, "a name is up to 15 letters, digits, _ and .");
  return std::string(name, end);
}

long check_tail_zero(UserMemory& memory, uint64_t from, uint64_t known, uint64_t given) {
  if (given > kPage) return -E2BIG;
  if (given <= known) return 0;
  const auto zero = memory.is_zero(from + known, given - known);
  if (!zero) return -EFAULT;
  return *zero ? 0 : -E2BIG;
}

long no_token(uint32_t descriptor) {
  return fcntl(static_cast<int>(descriptor), F_GETFD) < 0 ? -EBADF : -EINVAL;
}

long bpf(vm::Machine& machine, int command, union bpf_attr* attributes, unsigned size) try {
  const ErrnoKeeper keeper;
  Call call{machine,
            machine.part<ObjectTable>(),
            command,
            {},
            reinterpret_cast<uintptr_t>(attributes),
            std::min(size, kAttributesSize),
            {}};
  if (const long bad = check_tail_zero(call.memory, call.user_attributes, kAttributesSize, size)) return bad;
  if (!call.memory.read(call.attributes.data(), call.user_attributes, call.size)) return -EFAULT;
  const auto* row = std::ranges::find(kCommands, command, &CommandRow::command);
  if (row == std::end(kCommands) || !call.attributes.ends_at(row->end)) return -EINVAL;
  return row->run(call);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

std::shared_ptr<maps::Map> map_of_descriptor(vm::Machine& machine, int descriptor) {
  auto object = machine.part<ObjectTable>().get<MapObject>(descriptor);
  return object ? std::shared_ptr<maps::Map>(*object, (*object)->map.get()) : nullptr;
}

std::shared_ptr<vm::Program> program_of_descriptor(vm::Machine& machine, int descriptor) {
  auto object = machine.part<ObjectTable>().get<ProgramObject>(descriptor);
  return object ? std::shared_ptr<vm::Program>(*object, (*object)->program.get()) : nullptr;
}

bool unpin(vm::Machine& machine, const char* path) {
  return machine.part<ObjectTable>().unpin(absolute_path(path));
}

}  // namespace skep::sys
