#include <linux/perf_event.h>

#include <cerrno>
#include <cstring>

#include "syscall/bpf.hpp"
#include "syscall/errno_keeper.hpp"
#include "syscall/object_table.hpp"
#include "syscall/user_memory.hpp"

namespace skep::sys {

std::optional<int> perf_event_open(vm::Machine& machine, const perf_event_attr* attributes, int task, int cpu,
                                   int group) {
  const ErrnoKeeper keeper;
  UserMemory memory;
  perf_event_attr known{};
  if (!memory.read(&known, reinterpret_cast<uintptr_t>(attributes), PERF_ATTR_SIZE_VER0)) return -EFAULT;
  if (known.type != PERF_TYPE_SOFTWARE || known.config != PERF_COUNT_SW_BPF_OUTPUT) return std::nullopt;
  if (task != -1 || group != -1 || known.sample_type != PERF_SAMPLE_RAW || known.sample_id_all != 0)
    return -EOPNOTSUPP;
  if (cpu < 0 || static_cast<unsigned>(cpu) >= machine.cpus()) return -EINVAL;
  auto& objects = machine.part<ObjectTable>();
  const uint32_t id = objects.next_id(Kind::kPerfEvent);
  auto event = maps::PerfEvent::create(static_cast<unsigned>(cpu), id);
  if (!event) return -ENOMEM;
  (*event)->enable(known.disabled == 0);
  const auto object = std::make_shared<PerfEventObject>(std::move(*event));
  object->id = id;
  objects.add(object);
  return objects.open(object, {});
}

std::optional<int> perf_event_control(vm::Machine& machine, int descriptor, unsigned long request) {
  const ErrnoKeeper keeper;
  const auto object = machine.part<ObjectTable>().get<PerfEventObject>(descriptor);
  if (!object) return std::nullopt;
  if (request != PERF_EVENT_IOC_ENABLE && request != PERF_EVENT_IOC_DISABLE) return -ENOTTY;
  (*object)->event->enable(request == PERF_EVENT_IOC_ENABLE);
  return 0;
}

int before_mapping(vm::Machine& machine, int descriptor, size_t length, long offset) {
  if (descriptor < 0) return 0;
  const ErrnoKeeper keeper;
  const auto object = machine.part<ObjectTable>().get<PerfEventObject>(descriptor);
  if (!object) return 0;
  return offset != 0 ? -EINVAL : (*object)->event->make_ring(length);
}

}  // namespace skep::sys
