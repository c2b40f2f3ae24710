#include "syscall/elements.hpp"

#include <cerrno>
#include <fstream>
#include <new>
#include <sstream>

#include <fcntl.h>
#include <sys/stat.h>

#include "maps/map_in_map.hpp"
#include "maps/redirect_map.hpp"
#include "syscall/command.hpp"

namespace skep::sys {

Result<MapUse> MapUse::take(Call& call, uint32_t descriptor, Intent intent) {
  auto found = call.objects.at(static_cast<int>(descriptor));
  if (!found) return std::unexpected(found.error());
  if (found->object->kind != Kind::kMap) return fail(EINVAL, "the descriptor is no map's");
  MapUse use(std::static_pointer_cast<MapObject>(std::move(found->object)), intent.write);
  const bool may_write = found->access.write && !use.map().frozen();
  if ((intent.read && !found->access.read) || (intent.write && !may_write))
    return fail(EPERM, "the descriptor or the map does not allow it");
  return use;
}

bool Buffer::allocate(size_t size) {
  size_ = size;
  if (size <= inside_.size()) return true;
  outside_.reset(new (std::nothrow) std::byte[size]);
  return outside_ != nullptr;
}

bool lacks_lock(const maps::Map& map, uint64_t flags) {
  return (flags & BPF_F_LOCK) != 0 && !map.spec().fields.has(maps::FieldKind::kSpinLock);
}

void forbid_writable_mappings(const maps::Map& map) {
  if (map.memory_descriptor() >= 0) fcntl(map.memory_descriptor(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
}

namespace {

// bpf_prog_get_type and bpf_prog_map_compatible for a program that an element of a map is to run.
Result<std::shared_ptr<maps::Object>> entry_program(Call& call, MapObject& object, uint32_t attach_type,
                                                    int descriptor) {
  auto program = call.objects.get<ProgramObject>(descriptor);
  if (!program) return std::unexpected(program.error());
  const vm::ProgramSpec& spec = (*program)->program->spec();
  if (spec.type->id != BPF_PROG_TYPE_XDP || spec.expected_attach_type != attach_type ||
      !object.admits((*program)->program_kind()))
    return fail(EINVAL, "the program is not of the kind that the map's elements run");
  return std::shared_ptr<maps::Object>(*program, (*program)->program.get());
}

// What a descriptor stands for in a map whose values are objects.
Result<std::shared_ptr<maps::Object>> object_of(Call& call, MapObject& object, maps::ValueKind kind,
                                                int descriptor) {
  if (kind == maps::ValueKind::kPerfEvent) {
    auto event = call.objects.get<PerfEventObject>(descriptor);
    // perf_event_get() says EBADF of every descriptor that is none.
    if (!event) return fail(EBADF, "the descriptor is no perf event's");
    return (*event)->event;
  }
  // cgroup_get_from_fd
  if (kind == maps::ValueKind::kCgroup) return call.machine.host_objects().unified_cgroup_at(descriptor);
  if (kind == maps::ValueKind::kMap) {
    auto inner = call.objects.get<MapObject>(descriptor);
    if (!inner) return std::unexpected(inner.error());
    if (!object.map->spec().inner->admits((*inner)->map->spec()))
      return fail(EINVAL, "the map is not like those that this one was created for");
    const std::shared_ptr<maps::Map> shared(*inner, (*inner)->map.get());
    return std::make_shared<maps::InnerMap>(shared, (*inner)->id);
  }
  auto program = call.objects.get<ProgramObject>(descriptor);
  if (!program) return std::unexpected(program.error());
  if (!object.admits((*program)->program_kind()))
    return fail(EINVAL, "the program is of another kind than the array's");
  return std::shared_ptr<vm::Program>(*program, (*program)->program.get());
}

}  // namespace

long update_value(Call& call, MapObject& object, const void* key, const void* value, uint64_t flags) {
  maps::Map& map = *object.map;
  const maps::EpochDomain::TaskGuard guard(call.machine.epochs());
  if (maps::RedirectMap* redirects = map.redirects())
    return redirects->write_entry(key, value, flags, [&](int descriptor) {
      return entry_program(call, object, redirects->entry_attach_type(), descriptor);
    });
  const maps::ValueKind kind = maps::find_map_type(map.spec().type)->value_kind;
  if (kind == maps::ValueKind::kPlain) return map.write(key, value, flags);

  if (const int refused = map.check_put(key, flags)) return refused;
  uint32_t descriptor = 0;
  std::memcpy(&descriptor, value, sizeof descriptor);
  auto put = object_of(call, object, kind, static_cast<int>(descriptor));
  return put ? map.put_object(key, std::move(*put), flags) : code_of(put.error());
}

long read_value(Call& call, maps::Map& map, const void* key, void* value, uint64_t flags) {
  const maps::EpochDomain::TaskGuard guard(call.machine.epochs());
  return map.read(key, value, flags);
}

namespace {

// Keys and values of a command on one element.
struct Element {
  Buffer key;
  Buffer value;
};

long take_key(Call& call, const maps::Map& map, Buffer& key) {
  // ___bpf_copy_key: maps without keys are given none.
  if (map.spec().key_size == 0 && call.attr().key != 0) return -EINVAL;
  if (!key.allocate(map.spec().key_size)) return -ENOMEM;
  return call.memory.read(key.data(), call.attr().key, key.size()) ? 0 : -EFAULT;
}

// Whether somebody has the map's memory mapped to write to it, besides the map itself.
bool mapped_writable(const maps::Map& map) {
  struct stat status{};
  if (map.memory_descriptor() < 0 || fstat(map.memory_descriptor(), &status) != 0) return false;
  std::ifstream mappings("/proc/self/maps");
  unsigned writable = 0;
  for (std::string line; std::getline(mappings, line);) {
    std::istringstream fields(line);
    std::string range, rights, offset, device;
    uint64_t inode = 0;
    fields >> range >> rights >> offset >> device >> inode;
    if (inode == status.st_ino && rights.starts_with("rw") &&
        line.find("/memfd:bpf-map") != std::string::npos)
      ++writable;
  }
  return writable > 1;
}

}  // namespace

long map_lookup_elem(Call& call) {
  const bpf_attr& attr = call.attr();
  if ((attr.flags & ~uint64_t{BPF_F_LOCK}) != 0) return -EINVAL;
  const auto use = MapUse::take(call, attr.map_fd, {.read = true});
  if (!use) return code_of(use.error());
  maps::Map& map = use->map();
  if (lacks_lock(map, attr.flags)) return -EINVAL;
  Element element;
  if (const long bad = take_key(call, map, element.key)) return bad;
  if (!element.value.allocate(map.user_value_size())) return -ENOMEM;
  if (map.tests_values() && !call.memory.read(element.value.data(), attr.value, element.value.size()))
    return -EFAULT;
  if (const long bad = read_value(call, map, element.key.data(), element.value.data(), attr.flags))
    return bad;
  if (map.tests_values()) return 0;
  return call.memory.write(attr.value, element.value.data(), element.value.size()) ? 0 : -EFAULT;
}

long map_update_elem(Call& call) {
  const bpf_attr& attr = call.attr();
  const auto use = MapUse::take(call, attr.map_fd, {.write = true});
  if (!use) return code_of(use.error());
  maps::Map& map = use->map();
  if (lacks_lock(map, attr.flags)) return -EINVAL;
  Element element;
  if (const long bad = take_key(call, map, element.key)) return bad;
  if (!element.value.allocate(map.user_value_size())) return -ENOMEM;
  if (!call.memory.read(element.value.data(), attr.value, element.value.size())) return -EFAULT;
  return update_value(call, use->object(), element.key.data(), element.value.data(), attr.flags);
}

long map_delete_elem(Call& call) {
  const auto use = MapUse::take(call, call.attr().map_fd, {.write = true});
  if (!use) return code_of(use.error());
  Buffer key;
  if (const long bad = take_key(call, use->map(), key)) return bad;
  const maps::EpochDomain::TaskGuard guard(call.machine.epochs());
  return use->map().erase(key.data());
}

long map_get_next_key(Call& call) {
  const bpf_attr& attr = call.attr();
  const auto use = MapUse::take(call, attr.map_fd, {.read = true});
  if (!use) return code_of(use.error());
  maps::Map& map = use->map();
  Buffer key;
  Buffer next;
  if (attr.key != 0)
    if (const long bad = take_key(call, map, key)) return bad;
  if (!next.allocate(map.spec().key_size)) return -ENOMEM;
  {
    const maps::EpochDomain::TaskGuard guard(call.machine.epochs());
    if (const int bad = map.next_key(attr.key != 0 ? key.data() : nullptr, next.data())) return bad;
  }
  return call.memory.write(attr.next_key, next.data(), next.size()) ? 0 : -EFAULT;
}

long map_lookup_and_delete_elem(Call& call) {
  const bpf_attr& attr = call.attr();
  if ((attr.flags & ~uint64_t{BPF_F_LOCK}) != 0) return -EINVAL;
  const auto use = MapUse::take(call, attr.map_fd, {.read = true, .write = true});
  if (!use) return code_of(use.error());
  maps::Map& map = use->map();
  if (lacks_lock(map, attr.flags)) return -EINVAL;
  Element element;
  if (const long bad = take_key(call, map, element.key)) return bad;
  if (!element.value.allocate(map.user_value_size())) return -ENOMEM;
  {
    const maps::EpochDomain::TaskGuard guard(call.machine.epochs());
    if (const int bad = map.read_and_erase(element.key.data(), element.value.data(), attr.flags)) return bad;
  }
  return call.memory.write(attr.value, element.value.data(), element.value.size()) ? 0 : -EFAULT;
}

long map_freeze(Call& call) {
  const auto found = call.objects.at(static_cast<int>(call.attr().map_fd));
  if (!found) return code_of(found.error());
  if (found->object->kind != Kind::kMap) return -EINVAL;
  auto& object = static_cast<MapObject&>(*found->object);
  if (!object.map->spec().fields.empty()) return -kNotSupported;
  if (!found->access.write || object.map->frozen()) return -EPERM;
  std::scoped_lock lock(object.freeze_mutex);
  // Sequentially consistent as the writers' increment, which comes before they ask whether it is frozen.
  if (object.writers.load() != 0 || mapped_writable(*object.map)) return -EBUSY;
  if (object.map->frozen()) return -EBUSY;
  object.map->freeze();
  forbid_writable_mappings(*object.map);
  return 0;
}

}  // namespace skep::sys
