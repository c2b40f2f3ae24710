#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "syscall/command.hpp"
#include "syscall/elements.hpp"

namespace skep::sys {
namespace {

constexpr uint32_t kCountOffset = offsetof(bpf_attr, batch.count);

// The bytes of the cursor as user space holds it: hash tables count buckets, other maps remember a key
// (__htab_map_lookup_and_delete_batch, generic_map_lookup_batch).
size_t cursor_size(const maps::Map& map) {
  return map.batch_commands().by_bucket ? sizeof(uint32_t) : map.spec().key_size;
}

// Elements on their way out. Memory is touched only as far as elements are read.
struct Batch {
  std::unique_ptr<std::byte[]> keys;
  std::unique_ptr<std::byte[]> values;
  std::unique_ptr<std::byte[]> in;
  std::unique_ptr<std::byte[]> out;

  bool allocate(const maps::Map& map, uint32_t count) {
    const size_t cursor = std::max<size_t>(sizeof(uint32_t), map.spec().key_size);
    keys.reset(new (std::nothrow) std::byte[size_t{count} * map.spec().key_size]);
    values.reset(new (std::nothrow) std::byte[size_t{count} * map.user_value_size()]);
    in.reset(new (std::nothrow) std::byte[cursor]{});
    out.reset(new (std::nothrow) std::byte[cursor]{});
    return keys && values && in && out;
  }
};

// Whether the kernel writes the cursor back: hash tables unless the one given was past the end already, other
// maps when they found something.
bool writes_cursor(const maps::Map& map, const Batch& batch, bool first, long result, uint32_t count) {
  if (!map.batch_commands().by_bucket) return count != 0;
  const bool moved = first || std::memcmp(batch.in.get(), batch.out.get(), cursor_size(map)) != 0;
  return result != -ENOENT || count != 0 || moved;
}

bool refuses_flags(const maps::Map& map, uint64_t flags) {
  return (flags & ~uint64_t{BPF_F_LOCK}) != 0 || lacks_lock(map, flags);
}

}  // namespace

// BPF_MAP_LOOKUP_BATCH and BPF_MAP_LOOKUP_AND_DELETE_BATCH.
long map_lookup_batch(Call& call) {
  const bpf_attr& attr = call.attr();
  const bool erases = call.command == BPF_MAP_LOOKUP_AND_DELETE_BATCH;
  const auto use = MapUse::take(call, attr.batch.map_fd, {.read = true, .write = erases});
  if (!use) return code_of(use.error());
  maps::Map& map = use->map();
  const maps::BatchCommands has = map.batch_commands();
  if (!(erases ? has.lookup_and_erase : has.lookup)) return -kNotSupported;
  if (refuses_flags(map, attr.batch.elem_flags)) return -EINVAL;
  if (has.by_bucket && attr.batch.flags != 0) return -EINVAL;
  if (attr.batch.count == 0) return 0;
  if (!call.answer(kCountOffset, uint32_t{0})) return -EFAULT;

  uint32_t count = std::min(attr.batch.count, map.spec().max_entries);
  Batch batch;
  if (!batch.allocate(map, count)) return -ENOMEM;
  const bool first = attr.batch.in_batch == 0;
  const size_t cursor = cursor_size(map);
  if (!first && !call.memory.read(batch.in.get(), attr.batch.in_batch, cursor)) return -EFAULT;
  long result = 0;
  {
    const maps::EpochDomain::TaskGuard guard(call.machine.epochs());
    result = map.read_batch(first ? nullptr : batch.in.get(), batch.out.get(), batch.keys.get(),
                            batch.values.get(), count, attr.batch.elem_flags, erases);
  }
  // More was asked for than the map has room for: the kernel goes on and finds nothing.
  if (result == 0 && !has.by_bucket && count < attr.batch.count) result = -ENOENT;
  if (!call.memory.write(attr.batch.keys, batch.keys.get(), size_t{count} * map.spec().key_size) ||
      !call.memory.write(attr.batch.values, batch.values.get(), count * map.user_value_size()))
    return -EFAULT;
  if (writes_cursor(map, batch, first, result, count) &&
      !call.memory.write(attr.batch.out_batch, batch.out.get(), cursor))
    return -EFAULT;
  return call.answer(kCountOffset, count) ? result : -EFAULT;
}

long map_update_batch(Call& call) {
  const bpf_attr& attr = call.attr();
  const auto use = MapUse::take(call, attr.batch.map_fd, {.write = true});
  if (!use) return code_of(use.error());
  maps::Map& map = use->map();
  if (!map.batch_commands().update) return -kNotSupported;
  if (refuses_flags(map, attr.batch.elem_flags)) return -EINVAL;
  if (attr.batch.count == 0) return 0;
  if (!call.answer(kCountOffset, uint32_t{0})) return -EFAULT;
  Buffer key;
  Buffer value;
  if (!key.allocate(map.spec().key_size) || !value.allocate(map.user_value_size())) return -ENOMEM;
  long result = 0;
  uint32_t done = 0;
  for (; done < attr.batch.count; ++done) {
    result = -EFAULT;
    if (!call.memory.read(key.data(), attr.batch.keys + uint64_t{done} * key.size(), key.size()) ||
        !call.memory.read(value.data(), attr.batch.values + uint64_t{done} * value.size(), value.size()))
      break;
    result = update_value(call, use->object(), key.data(), value.data(), attr.batch.elem_flags);
    if (result != 0) break;
  }
  return call.answer(kCountOffset, done) ? result : -EFAULT;
}

long map_delete_batch(Call& call) {
  const bpf_attr& attr = call.attr();
  const auto use = MapUse::take(call, attr.batch.map_fd, {.write = true});
  if (!use) return code_of(use.error());
  maps::Map& map = use->map();
  if (!map.batch_commands().erase) return -kNotSupported;
  if (refuses_flags(map, attr.batch.elem_flags)) return -EINVAL;
  if (attr.batch.count == 0) return 0;
  if (!call.answer(kCountOffset, uint32_t{0})) return -EFAULT;
  Buffer key;
  if (!key.allocate(map.spec().key_size)) return -ENOMEM;
  long result = 0;
  uint32_t done = 0;
  for (; done < attr.batch.count; ++done) {
    result = -EFAULT;
    if (!call.memory.read(key.data(), attr.batch.keys + uint64_t{done} * key.size(), key.size())) break;
    const maps::EpochDomain::TaskGuard guard(call.machine.epochs());
    result = map.erase(key.data());
    if (result != 0) break;
  }
  return call.answer(kCountOffset, done) ? result : -EFAULT;
}

}  // namespace skep::sys
