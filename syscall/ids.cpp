#include <cerrno>
#include <climits>
#include <cstddef>

#include "syscall/command.hpp"

namespace skep::sys {
namespace {

Kind kind_of(int command) {
  switch (command) {
    case BPF_PROG_GET_NEXT_ID:
      return Kind::kProgram;
    case BPF_MAP_GET_NEXT_ID:
      return Kind::kMap;
    case BPF_BTF_GET_NEXT_ID:
      return Kind::kBtf;
    default:
      return Kind::kLink;
  }
}

long open_by_id(Call& call, Kind kind, uint32_t id, Access access) {
  call.objects.sweep();
  const auto object = call.objects.find(kind, id);
  return object ? call.objects.open(object, access) : -ENOENT;
}

}  // namespace

long get_next_id(Call& call) {
  if (call.attr().start_id >= INT_MAX) return -EINVAL;
  call.objects.sweep();
  const uint32_t next = call.objects.next(kind_of(call.command), call.attr().start_id);
  if (next == 0) return -ENOENT;
  return call.answer(offsetof(bpf_attr, next_id), next) ? 0 : -EFAULT;
}

long prog_by_id(Call& call) { return open_by_id(call, Kind::kProgram, call.attr().prog_id, {}); }
long btf_by_id(Call& call) { return open_by_id(call, Kind::kBtf, call.attr().btf_id, {}); }
long link_by_id(Call& call) { return open_by_id(call, Kind::kLink, call.attr().link_id, {}); }

long map_by_id(Call& call) {
  const uint32_t flags = call.attr().open_flags;
  if ((flags & ~uint32_t{BPF_F_RDONLY | BPF_F_WRONLY}) != 0) return -EINVAL;
  const auto access = access_of_flags(flags);
  return access ? open_by_id(call, Kind::kMap, call.attr().map_id, *access) : code_of(access.error());
}

long enable_statistics(Call& call) {
  if (call.attr().enable_stats.type != BPF_STATS_RUN_TIME) return -EINVAL;
  const auto object = std::make_shared<StatisticsObject>(call.objects.statistics_enabled());
  object->id = call.objects.next_id(Kind::kStatistics);
  return call.objects.open(object, {});
}

}  // namespace skep::sys
